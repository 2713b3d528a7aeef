"""Scores with intervals: tensors in, numbers out."""
