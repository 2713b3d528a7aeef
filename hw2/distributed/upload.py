"""What `ray job submit --working-dir .` would send: size, large files, secrets.

python -m hw2.distributed.upload
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

from hw2.distributed.leaks import leaks, own_secrets

LARGE_BYTES = 10**6
LIMIT_BYTES = 100 * 2**20  # the dashboard takes no more
ASSETS = "hw2/assets/"
CONFIGS = ("jobs/configs", "tune_configs")


@contextlib.contextmanager
def packed(folder: Path) -> Iterator[ZipFile]:
    """The package that Ray would send of `folder`, made by Ray's own code."""
    from ray._private import ray_constants
    from ray._private.runtime_env.packaging import create_package

    heed_gitignore = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "package.zip"
        create_package(
            str(folder),
            path,
            include_gitignore=heed_gitignore,
            excludes=ray_constants.get_runtime_env_default_excludes(),
            logger=logging.getLogger(__name__),  # Ray's own tells each ignore file
        )
        with ZipFile(path) as package:
            yield package


def check(folder: Path) -> list[str]:
    """Print what would be sent of `folder`. Returns: why it should not be."""
    own = own_secrets(os.environ, Path.home())
    wrong: list[str] = []
    with packed(folder) as package:
        sizes = {entry.filename: entry.file_size for entry in package.infolist()}
        for name in sizes:
            wrong += [
                f"looks like a secret: {leak}" for leak in leaks(name, package.read(name), own)
            ]
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                wrong.append(f"leads out of the folder: {name}")
    total = sum(sizes.values())
    assets = sum(size for name, size in sizes.items() if name.startswith(ASSETS))
    print(f"{_mb(total)} in {len(sizes)} files, {_mb(total - assets)} without {ASSETS}")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size > LARGE_BYTES:
            print(f"{_mb(size):>10}  {name}")
    for name in _settings_left_behind(folder, sizes):
        print(f"stays here, because .gitignore or .rayignore names it: {name}")
    if total > LIMIT_BYTES:
        wrong.append(f"{_mb(total)} is more than Ray takes ({_mb(LIMIT_BYTES)}): see .rayignore")
    return wrong


def _settings_left_behind(folder: Path, sent: dict[str, int]) -> list[str]:
    """Configurations that a job would not find."""
    paths = (path for part in CONFIGS for path in sorted((folder / part).rglob("*.yaml")))
    names = (path.relative_to(folder).as_posix() for path in paths)
    return [name for name in names if name not in sent]


def _mb(size: int) -> str:
    return f"{size / 10**6:.1f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns: 0, or 1 if there is a secret, a link that leads out, or too much."""
    parser = argparse.ArgumentParser(prog="python -m hw2.distributed.upload", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    wrong = check(parser.parse_args(argv).folder)
    for reason in wrong:
        print(f"error: {reason}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
