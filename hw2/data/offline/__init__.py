"""The offline tree: digits, faces, scenes and concepts made from data inside installed packages."""
