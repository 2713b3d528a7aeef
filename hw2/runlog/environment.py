"""What a run was made with: the commit of this code and the versions of its packages."""

import contextlib
import functools
import hashlib
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMPUTING = ("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "numpy")
PACKAGES = (*COMPUTING, "ray", "mlflow")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Those of `packages` that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def environment_tags() -> dict[str, str]:
    """The git commit of this code, where it is a checkout, and the versions of what it uses."""
    tags = {"version.python": ".".join(map(str, sys.version_info[:3]))}
    tags |= {f"version.{name}": found for name, found in versions().items()}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _git("ls-files", "--error-unmatch", __file__)  # else it lies in another project's folder
        tags["mlflow.source.git.commit"] = _git("rev-parse", "HEAD")
        changed = _git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
        tags["git.dirty"] = str(bool(changed)).lower()
    return tags


@functools.cache
def code_hash() -> str:
    """sha256 over the sources of hw2 and jobs; there also where there is no git."""
    root = Path(__file__).parents[2]
    paths = sorted(path for folder in ("hw2", "jobs") for path in (root / folder).rglob("*.py"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
