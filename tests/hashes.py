"""Folders compared by the bytes of their files."""

from pathlib import Path

from hw2.data.files import sha256_of


def files(root: Path) -> dict[str, str]:
    """Each file below a folder, but hidden ones, and the hash of its bytes."""
    return {
        str(path.relative_to(root)): sha256_of(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
