"""Problem 1 put together: training, drawing, judging and reporting digits."""
