"""Grades of concepts and prompts, made of the scores of their pictures."""

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch

from hw2.data.concepts import Concept
from hw2.metrics.concept_scores import (
    TogetherScore,
    both_scores,
    grade_prompt,
    score_together,
)
from hw2.metrics.intervals import Interval, bootstrap
from hw2.personalize.generated import Generated, Prompt
from hw2.personalize.grading import Scores


class Grades:
    """What the scores of `generated` come to.

    Of each concept's prompt: `alone`, and `changes` against the other folder, if any. Of each
    prompt with several concepts: their thresholds `limits`, the scores `together` by way, and the
    paired `differences` of "both" by pair of ways. `seed` is of the bootstraps, `asked`
    the number of pictures without which a prompt does not pass.
    """

    def __init__(
        self,
        concepts: Mapping[str, Concept],
        generated: Generated,
        scores: Scores,
        seed: int,
        asked: int = 0,
    ) -> None:
        self.asked = asked
        self.concepts, self.generated, self.scores = concepts, generated, scores
        self.alone = {
            key: grade_prompt(of.image, of.text, seed) for key, of in scores.alone.items()
        }
        # Both hold the same numbers in the same order: check_pairs has seen to it.
        self.changes = {
            key: {
                "image": bootstrap(scores.alone[key].image - before.image, seed),
                "text": bootstrap(scores.alone[key].text - before.text, seed),
            }
            for key, before in scores.against.items()
        }
        self.limits = [
            torch.tensor([scores.thresholds[name] for name in one.concepts], dtype=torch.float64)
            for one in generated.together
        ]
        self.together: list[dict[str, TogetherScore]] = [
            {way: score_together(own, limits, seed) for way, own in ways.items()}
            for limits, ways in zip(self.limits, scores.together, strict=True)
        ]
        self.differences: list[dict[str, Interval]] = [
            {
                f"{b} - {a}": bootstrap(both_scores(ways[b]) - both_scores(ways[a]), seed)
                for a, b in combinations(ways, 2)
            }
            for ways in scores.together
        ]

    def baseline(self, key: Prompt) -> tuple[float, float]:
        """The image and text score that the best pictures are to reach."""
        name, place = key
        return self.concepts[name].baselines[place]

    def passed(self, key: Prompt) -> bool:
        """Whether a prompt has what was asked for, and its best pictures reach its baseline."""
        if len(self.scores.alone[key].numbers) < self.asked:
            return False
        return self.alone[key].passes(self.baseline(key))

    def best(self, key: Prompt) -> list[int]:
        """The numbers of a prompt's best pictures, best first."""
        numbers = self.scores.alone[key].numbers
        return [numbers[place] for place in self.alone[key].best.tolist()]

    def to_json(self) -> dict[str, Any]:
        """All figures with their limits, ready for JSON."""
        concepts = {
            name: {
                "token": concept.token_name,
                "pictures": len(concept.pictures),
                "image_each_other": self.scores.likeness.get(name),
                "threshold": self.scores.thresholds.get(name),
                "prompts": [self._prompt(key) for key in self.alone if key[0] == name],
            }
            for name, concept in self.concepts.items()
        }
        together = [self._together(place) for place in range(len(self.together))]
        return {"concepts": concepts, "together": together}

    def _prompt(self, key: Prompt) -> dict[str, Any]:
        grade = self.alone[key]
        changes = self.changes.get(key, {})
        return {
            "prompt": self.concepts[key[0]].prompts[key[1]],
            "pictures": len(self.scores.alone[key].numbers),
            "best": self.best(key),
            "best_image": grade.best_image,
            "best_text": grade.best_text,
            "baseline": self.baseline(key),
            "passed": self.passed(key),
            "image": grade.image.to_json(),
            "text": grade.text.to_json(),
            **{f"{kind}_change": change.to_json() for kind, change in changes.items()},
        }

    def _together(self, place: int) -> dict[str, Any]:
        one = self.generated.together[place]
        ways = {
            way: {
                "image": {
                    name: own.to_json() for name, own in zip(one.concepts, score.own, strict=True)
                },
                "both": score.both.to_json(),
                "both_there": score.there.to_json(),
            }
            for way, score in self.together[place].items()
        }
        return {
            "prompt": one.prompt,
            "concepts": one.concepts,
            "pictures": len(next(iter(one.ways.values()))),
            "ways": ways,
            "differences_of_both": {k: v.to_json() for k, v in self.differences[place].items()},
        }

    def flat(self) -> dict[str, float | Interval]:
        """The figures, under names that MLflow takes."""
        found: dict[str, float | Interval] = {}
        for key, grade in self.alone.items():
            means = {"image": grade.image, "text": grade.text}
            changes = {f"{kind}_change": of for kind, of in self.changes.get(key, {}).items()}
            stem = f"eval/source{key[0]}/prompt{key[1]}"
            found |= {f"{stem}/{kind}": of for kind, of in (means | changes).items()}
            found[f"{stem}/best_image"] = grade.best_image
            found[f"{stem}/best_text"] = grade.best_text
        for place, scores in enumerate(self.together):
            for way, score in scores.items():
                stem = f"eval/together/{way}/prompt{place}"
                found |= {f"{stem}/both": score.both, f"{stem}/there": score.there}
        return {re.sub(r"[^\w. /-]", "_", k): v for k, v in found.items()}
