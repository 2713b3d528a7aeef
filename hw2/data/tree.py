"""Writing a digits tree: whole or visibly unfinished, and never over one made otherwise."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from hw2.data.layout import SPLITS, Split, csv_path, digits_folder, picture_folder
from hw2.data.recipe import Recipe
from hw2.data.writing import write_picture, write_text
from hw2.domains import DOMAINS, Domain
from hw2.progress import progress

CHUNK = 250  # pictures a task: seconds of work, so that the bar moves and the workers share evenly

Task = tuple[Domain, Split, list[int]]  # the indices of the pictures to draw


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
    for domain in DOMAINS:  # a source that cannot be read fails here, before it leaves a trace
        for split in SPLITS:
            source.labels(domain, split)
    recipe.claim()
    tasks: list[Task] = []
    for domain in DOMAINS:
        pictures = picture_folder(root, domain)
        pictures.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in os.scandir(pictures)}
        for split in SPLITS:
            names = _names(source, domain, split)
            missing = [index for index, name in enumerate(names) if name not in there]
            tasks += [
                (domain, split, missing[i : i + CHUNK]) for i in range(0, len(missing), CHUNK)
            ]
    _draw_all(root, source, tasks, workers)
    for domain in DOMAINS:
        for split in SPLITS:
            rows = zip(_names(source, domain, split), source.labels(domain, split), strict=True)
            table = "image_name,label\n" + "".join(f"{name},{digit}\n" for name, digit in rows)
            write_text(csv_path(root, domain, split), table)
    train, val = (max(len(source.labels(domain, split)) for domain in DOMAINS) for split in SPLITS)
    print(f"{folder}: {train} train and {val} val pictures a domain at most")


def _first(source: PictureSource, domain: Domain, split: Split) -> int:
    """The number of a split's first picture: train and val lie in one folder, numbered on."""
    return 0 if split == "train" else len(source.labels(domain, "train"))


def _name(number: int) -> str:
    return f"{number:05d}.png"


def _names(source: PictureSource, domain: Domain, split: Split) -> list[str]:
    first = _first(source, domain, split)
    return [_name(first + index) for index in range(len(source.labels(domain, split)))]


def _draw_all(root: Path, source: PictureSource, tasks: list[Task], workers: int) -> None:
    total = sum(len(indices) for _, _, indices in tasks)
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
    domain, split, indices = task
    first = _first(source, domain, split)
    for index in indices:
        path = picture_folder(root, domain) / _name(first + index)
        write_picture(path, source.picture(domain, split, index), optimize=True)
    return len(indices)
