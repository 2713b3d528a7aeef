"""Writing a digits tree: whole or visibly unfinished, and never over one made otherwise."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from hw2.data.layout import SPLITS, Split, csv_path, digits_folder, picture_folder
from hw2.data.recipe import Recipe
from hw2.data.writing import write_text
from hw2.domains import DOMAINS, Domain
from hw2.errors import ConfigError
from hw2.figures.files import write_atomic
from hw2.progress import progress
from hw2.settings.values import SourceName

CHUNK = 250  # pictures a task: seconds of work, so that the bar moves and the workers share evenly

Task = tuple[Domain, Split, list[tuple[int, str]]]  # pictures to draw: their index, their name


@runtime_checkable
class PictureSource(Protocol):
    """Where the pictures of a tree come from; picklable, to be drawn by several processes."""

    @property
    def name(self) -> str:
        """What the tree is, and the name of its recipe file."""

    def recipe(self) -> dict[str, int | str]:
        """All that decides the bytes of the tree, as JSON values."""

    def labels(self, domain: Domain, split: Split) -> np.ndarray:
        """The digits of a split, integers (N,) in 0..9."""

    def picture(self, domain: Domain, split: Split, index: int) -> np.ndarray:
        """One picture, uint8 (28, 28, 3)."""


def prepare_digits(
    out: Path,
    seed: int = 0,
    num_train: int = 20_000,
    num_val: int = 2_000,
    *,
    source: SourceName = "offline",
    cache: Path | None = None,
    workers: int | None = None,
) -> None:
    """Build OUT/digits in the course's layout; go on with it if it was interrupted.

    Args:
        out: the data tree.
        seed: 0 <= seed < 2**64; decides every byte together with the sizes.
        num_train: train pictures a domain (torchvision: at most).
        num_val: val pictures a domain (torchvision: at most).
        source: made from installed packages, the real MNIST and SVHN through torchvision, or
            another file of hw2/data/sources.
        cache: where what is downloaded is kept; by default OUT/.downloads.
        workers: processes; by default all processors, or one for a small tree.

    Raises:
        ConfigError: an impossible size, or a folder with a tree made otherwise.
        DataError: a package or data set that the pictures come from is missing.
    """
    for key, value in (("num_train", num_train), ("num_val", num_val)):
        if not 10 <= value <= 1_000_000:
            raise ConfigError(f"{key}={value} is out of range: use 10..1000000 pictures a domain")
    module = import_module(f"hw2.data.sources.{source}")
    kept = cache or out / ".downloads"
    pictures: PictureSource = module.make(seed, num_train, num_val, kept)
    if source == "torchvision":
        workers = 1  # no rendering to share, and the arrays are too large to copy to each process
    if workers is None:
        small = num_train + num_val < 2_000  # a second process takes longer to start
        workers = 1 if small else len(os.sched_getaffinity(0))
    write_digits(out, pictures, workers)


def write_digits(root: Path, source: PictureSource, workers: int) -> None:
    """Write `root`/digits, or what is still missing of it.

    The recipe file comes first, the pictures next and each CSV last, all by renaming: an
    interrupted tree has no CSV to be taken for whole, and the same call goes on with it. A folder
    that we did not make is left as it is, which a printed line says.

    Args:
        root: the data tree.
        source: draws the pictures.
        workers: processes; their number does not change a byte.

    Raises:
        ConfigError: the folder holds a tree of another recipe.
    """
    folder = digits_folder(root)
    recipe = Recipe(folder / f"{source.name}.json", source.recipe())
    # A recipe of another source is ours too: its tree may be half-made.
    if not any(folder.glob("*.json")) and recipe.left_alone():
        return
    recipe.insist()
    parts = [(domain, split) for domain in DOMAINS for split in SPLITS]
    # A source that cannot be read fails here, before it leaves a trace.
    labels = {part: source.labels(*part) for part in parts}
    recipe.claim()
    names: dict[tuple[Domain, Split], list[str]] = {}
    tasks: list[Task] = []
    for domain, split in parts:
        pictures = picture_folder(root, domain)
        pictures.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in os.scandir(pictures)}
        # Train and val lie in one folder, numbered on.
        first = 0 if split == "train" else len(labels[domain, "train"])
        count = len(labels[domain, split])
        names[domain, split] = [f"{first + index:05d}.png" for index in range(count)]
        missing = [(i, name) for i, name in enumerate(names[domain, split]) if name not in there]
        tasks += [(domain, split, missing[i : i + CHUNK]) for i in range(0, len(missing), CHUNK)]
    _draw_all(root, source, tasks, workers)
    for (domain, split), digits in labels.items():
        rows = zip(names[domain, split], digits, strict=True)
        table = "image_name,label\n" + "".join(f"{name},{digit}\n" for name, digit in rows)
        write_text(csv_path(root, domain, split), table)
    train, val = (max(len(labels[domain, split]) for domain in DOMAINS) for split in SPLITS)
    print(f"{folder}: {train} train and {val} val pictures a domain at most")


def _draw_all(root: Path, source: PictureSource, tasks: list[Task], workers: int) -> None:
    total = sum(len(missing) for _, _, missing in tasks)
    with progress(total, "making", "pictures", quiet=not total) as bar:
        if workers <= 1 or len(tasks) <= 1:
            for task in tasks:
                bar.advance(_draw(root, source, task))
            return
        # Spawned, not forked: a fork of a process with torch or gRPC threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
            futures = [pool.submit(_draw, root, source, task) for task in tasks]
            try:
                for future in as_completed(futures):
                    bar.advance(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _draw(root: Path, source: PictureSource, task: Task) -> int:
    """Write the pictures of one task; how many."""
    domain, split, missing = task
    for index, name in missing:
        picture = Image.fromarray(source.picture(domain, split, index))
        write_atomic(picture_folder(root, domain) / name, picture, optimize=True)
    return len(missing)
