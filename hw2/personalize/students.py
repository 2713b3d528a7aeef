"""Folders of concepts' pictures that students handed in."""

import re
from collections.abc import Mapping, Sequence

from hw2.data.concepts import Concept
from hw2.data.handed_in.files import Student, refuse_unlabelled, student_of
from hw2.data.handed_in.folders import students_in
from hw2.data.listing.store import Entry
from hw2.settings.grading import JudgeConceptsConfig

NUMBER = re.compile(r"\d\.[^.]*$")  # source0_prompt0_24.png, 24.jpg
UNTOLD = "its name ends in no number: want source{source}_prompt{prompt}_{0..}.png"


def find_concept_students(
    config: JudgeConceptsConfig, concepts: Mapping[str, Concept]
) -> list[Student]:
    """The students of all folders of `pictures`, with the files of the prompts of `concepts`.

    A prompt's files lie in {source}/{prompt}/; their label is the prompt's number. Nothing is
    opened. Raises as `students_in` does, and DataError for no pictures at all.
    """
    first = next(iter(concepts))
    want = (
        f"want a student's folder with {first}/0/source{first}_prompt0_0.png and so on in it, or a "
        "folder whose sub-folders are such"
    )

    def has_source(entries: Sequence[Entry]) -> bool:
        return any(entry.folder and entry.name in concepts for entry in entries)

    found = students_in(config.pictures, config.out, has_source, want)
    places = [
        place_of(source, prompt)
        for source, concept in concepts.items()
        for prompt in range(len(concept.prompts))
    ]
    students = [student_of(name, given, places, _label, UNTOLD) for name, given in found.items()]
    refuse_unlabelled(students, want)
    return students


def place_of(source: str, prompt: int) -> str:
    """Where a prompt's pictures lie in a student's folder."""
    return f"{source}/{prompt}"


def _label(place: str, file: str) -> int | None:
    return int(place.rpartition("/")[2]) if NUMBER.search(file) else None
