"""What a judge reads on the digits of students, and the grades of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hw2.data.handed_in.files import HandedFile
from hw2.data.handed_in.readings import Reading
from hw2.digits.judging import JUDGE_SIZE, at_judge_size, judge_pictures
from hw2.domains import DIGITS, DOMAINS, Domain
from hw2.metrics.intervals import UNDEFINED, Interval, wilson
from hw2.models.judge import Judge
from hw2.pixels import stacked


class DigitReader:
    """What `judge` sees in pictures: a digit 0..9 in each."""

    upright = False

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def prepared(self, pixels: np.ndarray) -> Tensor:
        """The picture as the judge sees it, uint8 (3, 28, 28)."""
        return at_judge_size(stacked([pixels]))[0]

    def read(self, pictures: Sequence[tuple[HandedFile, Tensor]]) -> list[int]:
        """The digit that the judge reads on each."""
        judged = judge_pictures(
            self.judge,
            torch.stack([picture for _, picture in pictures]),
            torch.tensor([file.label for file, _ in pictures]),
            torch.tensor([DOMAINS.index(file.place) for file, _ in pictures]),
        )
        return judged.predictions.tolist()

    def sound(self, said: Any) -> bool:
        """Whether it is a digit."""
        return isinstance(said, int) and said in DIGITS


@dataclass(frozen=True)
class Grade:
    """What the judge reads in a student's folder of a domain.

    Attributes:
        pictures: of each digit 0..9, as the names say; the unreadable count too.
        right: pictures read as their names say.
        unreadable: pictures that are broken or cannot be had; they count as wrong.
        other_size: pictures that are not 28x28, and are brought to it.
        not_counted: files whose name tells no digit, or that are more than was asked for.
        asked: pictures that were asked for of each digit; those that are missing count as wrong.
        repeated: pictures that are equal to one before them; they count as any other.
        shared: pictures that another student has too; likewise.
        copied: pictures that are equal to a real one; likewise.
    """

    pictures: tuple[int, ...]
    right: int
    unreadable: int
    other_size: int
    not_counted: int
    asked: int = 0
    repeated: int = 0
    shared: int = 0
    copied: int = 0

    @property
    def missing(self) -> int:
        """Pictures that were asked for and are not there."""
        return sum(max(0, self.asked - count) for count in self.pictures)

    @property
    def total(self) -> int:
        """All pictures that count, there or missing."""
        return sum(self.pictures) + self.missing

    @property
    def counts(self) -> dict[str, int]:
        """What stands in tables beside the accuracy, in this order."""
        return {
            "pictures": sum(self.pictures),
            "read_right": self.right,
            "unreadable": self.unreadable,
            "missing": self.missing,
            "other_size": self.other_size,
            "not_counted": self.not_counted,
            "repeated": self.repeated,
            "shared": self.shared,
            "copied": self.copied,
        }

    @property
    def accuracy(self) -> Interval:
        """Share read right, with Wilson's limits; undefined without pictures."""
        return wilson(self.right, self.total) if self.total else UNDEFINED

    @property
    def fewer(self) -> str:
        """The digits of fewer pictures than the fullest, or than asked: "3: 49, 7: 0 (of 50)"."""
        if not any(self.pictures):
            return "all"
        most = self.asked or max(self.pictures)
        short = [f"{d}: {count}" for d, count in enumerate(self.pictures) if count < most]
        return f"{', '.join(short)} (of {most})" if short else ""


def grade(
    files: Sequence[HandedFile],
    readings: Sequence[Reading],
    domain: Domain,
    asked: int = 0,
    shared: Collection[str] = (),
    real: Collection[str] = (),
) -> Grade:
    """The grade of one domain of a student's files, where `asked` of each digit were asked for.

    `files`: as `Student.counted` leaves them, so that no digit has more than `asked`; `shared`: the
    sums of pictures that several students have; `real`: those of real pictures.
    """
    pairs = [(f, r) for f, r in zip(files, readings, strict=True) if f.place == domain]
    counted = [(f, r) for f, r in pairs if f.label is not None]
    whole = f"{JUDGE_SIZE}x{JUDGE_SIZE}"
    sums = [r.sum for _, r in counted if r.sum]
    return Grade(
        pictures=tuple(sum(f.label == digit for f, _ in counted) for digit in DIGITS),
        right=sum(f.label == r.said for f, r in counted),
        unreadable=sum(r.said is None for _, r in counted),
        other_size=sum(r.size not in ("", whole) for _, r in counted),
        not_counted=sum(f.label is None and f.file != "" for f, _ in pairs),
        asked=asked,
        repeated=len(sums) - len(set(sums)),
        shared=sum(one in shared for one in sums),
        copied=sum(one in real for one in sums),
    )
