"""One page of all results: runs the jobs that are not done, collects what they left, renders it."""
