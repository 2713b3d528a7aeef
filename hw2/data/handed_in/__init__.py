"""Folders that students handed in: found, listed, and read by a model."""
