"""What CLIP says of the pictures of concepts that students handed in, and the grades of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hw2.data.concepts import Concept
from hw2.data.handed_in.files import HandedFile
from hw2.data.handed_in.readings import Reading, picture_sum
from hw2.data.images import decode_named
from hw2.metrics.concept_scores import PromptGrade, grade_prompt, image_scores, text_scores
from hw2.personalize.grading import Embedder


class ConceptReader:
    """The scores of pictures: image, text, and the image score against the nearest source picture.

    All are 100 times cosines of CLIP's embeddings; the first two are the course's.
    """

    upright = True  # as the concepts' own are

    def __init__(self, embedder: Embedder, concepts: Mapping[str, Concept]) -> None:
        self.embedder = embedder
        self.sources = {
            source: embedder.pictures(concept.pictures, lambda count: None)
            for source, concept in concepts.items()
        }
        self.texts = {
            source: embedder.texts(concept.prompts_for_score)
            for source, concept in concepts.items()
        }

    def prepared(self, pixels: np.ndarray) -> np.ndarray:
        """The picture as the model sees it, uint8 (height, width, 3)."""
        return self.embedder.preprocess.pixels(pixels)

    def read(self, pictures: Sequence[tuple[HandedFile, np.ndarray]]) -> list[list[float]]:
        """The three scores of each picture."""
        embedded = self.embedder.prepared([picture for _, picture in pictures])
        return [
            self._scores(file.place, one) for (file, _), one in zip(pictures, embedded, strict=True)
        ]

    def _scores(self, place: str, embedded: Float[Tensor, " d"]) -> list[float]:
        source, _, prompt = place.rpartition("/")
        own, one = self.sources[source], embedded[None]
        image, text = image_scores(one, own), text_scores(one, self.texts[source][int(prompt)])
        nearest = max(image_scores(one, picture[None]) for picture in own)
        return [float(image), float(text), float(nearest)]

    def sound(self, said: Any) -> bool:
        """Whether it is three scores."""
        return isinstance(said, list) and len(said) == 3 and all(type(x) is float for x in said)


@dataclass(frozen=True)
class StudentPrompt:
    """What a student has of a prompt.

    Attributes:
        counts: pictures, unreadable, missing, not_counted, repeated, shared and copied, in this
            order: `repeated` are equal to one before them, `shared` another student has too,
            `copied` are equal to a picture of the concept. All of these count as any other.
        files: those that are read and count, in the order of their numbers.
        scores: image, text and nearest of each (n, 3).
        grade: of the scores; None without any.
        passed: whether all that was asked for is there and read, and the best reach the baseline.
    """

    counts: dict[str, int]
    files: tuple[HandedFile, ...]
    scores: Float[Tensor, "n 3"]
    grade: PromptGrade | None
    passed: bool

    @property
    def best(self) -> list[HandedFile]:
        """The files of the best pictures, best first."""
        return [] if self.grade is None else [self.files[i] for i in self.grade.best.tolist()]


def grade_student_prompt(
    place: str,
    baseline: tuple[float, float],
    pairs: Sequence[tuple[HandedFile, Reading]],
    seed: int,
    asked: int = 0,
    shared: Collection[str] = (),
    real: Collection[str] = (),
) -> StudentPrompt:
    """A student's pictures of the prompt at `place`, of which `asked` were asked for.

    `pairs`: the student's files as `Student.counted` leaves them, and what was read; `shared`: the
    sums of pictures that several students have; `real`: those of the concepts' pictures.
    """
    here = [(file, reading) for file, reading in pairs if file.place == place]
    counted = [(file, reading) for file, reading in here if file.label is not None]
    read = [(file, reading) for file, reading in counted if reading.said is not None]
    sums = [reading.sum for _, reading in read]
    counts = {
        "pictures": len(counted),
        "unreadable": len(counted) - len(read),
        "missing": max(0, asked - len(counted)),
        "not_counted": sum(file.label is None and file.file != "" for file, _ in here),
        "repeated": len(sums) - len(set(sums)),
        "shared": sum(one in shared for one in sums),
        "copied": sum(one in real for one in sums),
    }
    scores = torch.tensor([reading.said for _, reading in read], dtype=torch.float64).view(-1, 3)
    grade = grade_prompt(scores[:, 0], scores[:, 1], seed) if read else None
    passed = grade is not None and len(read) >= asked and grade.passes(baseline)
    return StudentPrompt(counts, tuple(file for file, _ in read), scores, grade, passed)


def source_sums(concepts: Mapping[str, Concept]) -> dict[str, str]:
    """The sums of the pixels of all concepts' pictures, and where each lies."""
    return {
        picture_sum(decode_named(path, upright=True)): str(path)
        for concept in concepts.values()
        for path in concept.pictures
    }
