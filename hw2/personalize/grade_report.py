"""Telling of graded concepts: tables, sheets, metrics.json and MLflow."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hw2.data.concepts import Concept, concept_pictures
from jaxtyping import UInt8
from torch import Tensor

from hw2.data.images import decode
from hw2.figures.files import write_atomic
from hw2.figures.gallery import GalleryRow, gallery
from hw2.metrics.concept_scores import (
    PromptGrade,
    TogetherScore,
    both_scores,
    grade_prompt,
    mean_score,
    score_together,
)
from hw2.metrics.intervals import Interval
from hw2.metrics.table import format_table
from hw2.personalize.generated import Generated
from hw2.personalize.grading import Prompt, Scores
from hw2.runlog.journal import write_json
from hw2.runlog.tracker import Tracker

Rows = list[dict[str, Any]]


class GradeReport:
    """Grades made of the scores of generated pictures, and what is shown of them."""

    def __init__(
        self,
        concepts: Mapping[str, Concept],
        generated: Generated,
        scores: Scores,
        seed: int,
    ) -> None:
        self.concepts, self.generated, self.scores, self.seed = concepts, generated, scores, seed
        self.grades = {
            prompt: grade_prompt(of.image, of.text, seed) for prompt, of in scores.alone.items()
        }
        self.changes = {
            prompt: (
                mean_score(scores.alone[prompt].image - of.image, seed),
                mean_score(scores.alone[prompt].text - of.text, seed),
            )
            for prompt, of in scores.against.items()
        }
        self.together = [
            {way: self._together(names.concepts, own) for way, own in ways.items()}
            for names, ways in zip(generated.together, scores.together, strict=True)
        ]
        self.differences: list[dict[str, Interval]] = [
            {
                f"{b} - {a}": mean_score(both_scores(ways[b]) - both_scores(ways[a]), seed)
                for a, b in combinations(ways, 2)
            }
            for ways in scores.together
        ]

    def _together(self, names: tuple[str, ...], own: Tensor) -> TogetherScore:
        limits = torch.tensor([self.scores.thresholds[k] for k in names], dtype=torch.float64)
        return score_together(own, limits, self.seed)

    def passed(self, prompt: Prompt) -> bool | None:
        """Whether a prompt's grade reaches its baseline; None where it has none."""
        baseline = self._baseline(prompt)
        return None if baseline is None else self.grades[prompt].passes(baseline)

    def _baseline(self, prompt: Prompt) -> tuple[float, float] | None:
        name, place = prompt
        baselines = self.concepts[name].baselines
        return baselines[place] if place < len(baselines) else None
