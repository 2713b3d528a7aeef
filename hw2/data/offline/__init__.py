"""The offline tree: digit pictures made from data inside installed packages."""
