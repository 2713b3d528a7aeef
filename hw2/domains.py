"""The names that conditions go by: a label is an index into these."""

DOMAINS = ("mnistm", "svhn")
DIGITS = range(10)
