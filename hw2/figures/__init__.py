"""Figures: tensors and tables in, PIL pictures out."""
