"""Names and paths of the digits part of the data tree."""

from pathlib import Path
from typing import Literal

from hw2.domains import Domain

Split = Literal["train", "val"]

SPLITS: tuple[Split, ...] = ("train", "val")


def digits_folder(root: Path) -> Path:
    """The digits part of the data tree at `root`."""
    return root / "digits"


def picture_folder(root: Path, domain: Domain) -> Path:
    """The folder that the names in a domain's CSV files are relative to."""
    return digits_folder(root) / domain / "data"


def csv_path(root: Path, domain: Domain, split: Split) -> Path:
    """The table of a split: first column the file name, second the digit."""
    return digits_folder(root) / domain / f"{split}.csv"


def shown_name(root: Path, domain: str) -> str:
    """What a figure calls a domain: house numbers rendered from fonts are not SVHN itself."""
    rendered = domain == "svhn" and (digits_folder(root) / "offline.json").is_file()
    return "svhn-style" if rendered else domain
