"""A file a source of digits, and the file's name is the source's: each has a `make`."""
