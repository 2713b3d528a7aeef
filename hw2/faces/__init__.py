"""Problem 2 put together: a face model trained, given, drawn from, interpolated in."""
