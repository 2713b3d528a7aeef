"""Folders of digits that students handed in."""

import re
from collections.abc import Sequence

from hw2.data.handed_in.files import Student, refuse_unlabelled, student_of
from hw2.data.handed_in.folders import students_in
from hw2.data.listing.store import Entry
from hw2.domains import DOMAINS
from hw2.settings.grading import JudgeDigitsConfig

WANT = (
    "want a student's folder with mnistm/ and svhn/ in it, and in these {digit}_{001..}.png, "
    "or a folder whose sub-folders are such"
)
DIGIT = re.compile(r"([0-9])(?![0-9A-Za-z])")  # 3_001.png, not 10_001.png
UNTOLD = "its name tells no digit: want {digit}_{001..}.png"


def find_students(config: JudgeDigitsConfig) -> list[Student]:
    """The students of all folders of `pictures`, with the files of `domains`; nothing is opened.

    A file's label is the digit that its name tells. Sub-folders without mnistm/ and svhn/, and
    archives, are students who handed in nothing that can be found. Raises as `students_in` does,
    and DataError for no pictures at all.
    """
    found = students_in(config.pictures, config.out, _has_domain, WANT)
    students = [
        student_of(name, given, config.domains, _digit, UNTOLD) for name, given in found.items()
    ]
    refuse_unlabelled(students, WANT)
    return students


def _has_domain(entries: Sequence[Entry]) -> bool:
    return any(entry.folder and entry.name in DOMAINS for entry in entries)


def _digit(domain: str, file: str) -> int | None:
    told = DIGIT.match(file)
    return int(told[1]) if told else None
