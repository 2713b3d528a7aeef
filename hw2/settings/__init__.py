"""The settings of every job; no heavy imports."""
