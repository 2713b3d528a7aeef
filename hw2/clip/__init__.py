"""Problem 3a put together: a small CLIP trained, classification without training examples."""
