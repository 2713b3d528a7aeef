"""Conditional diffusion and CLIP experiments on Ray."""
