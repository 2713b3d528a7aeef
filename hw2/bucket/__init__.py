"""Buckets: their files, and OUT in one."""
