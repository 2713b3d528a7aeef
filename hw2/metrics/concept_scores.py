"""Scores of pictures of learnt concepts, from CLIP embeddings: the course's, and of several."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from hw2.errors import DataError
from hw2.metrics.intervals import Interval, bootstrap, wilson

BEST = 5
TEXT_WEIGHT = 2.5


def image_scores(
    generated: Float[Tensor, "n d"], sources: Float[Tensor, "m d"]
) -> Float64[Tensor, " n"]:
    """100 times each picture's mean cosine with a concept's pictures.

    The image similarity of Gal et al. 2023 (arXiv 2208.01618), section 5.1. Embeddings may be of
    any length. Scores lie in [-100, 100]. Raises DataError for no sources.
    """
    if not len(sources):
        raise DataError("image scores against no pictures: need one or more of the concept")
    return 100 * _unit(generated) @ _unit(sources).mean(0)


def text_scores(
    generated: Float[Tensor, "n d"], text: Float[Tensor, " d"]
) -> Float64[Tensor, " n"]:
    """100 times each picture's cosine with a text (Gal et al. 2023, section 5.1)."""
    return 100 * _unit(generated) @ _unit(text[None])[0]


def _unit(x: Float[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
    return F.normalize(x.double(), dim=1)


def likeness_of_sources(sources: Float[Tensor, "m d"]) -> float:
    """The mean image score of m >= 2 pictures of a concept, each against the others.

    About what a perfect picture of the concept reaches. Raises DataError for fewer.
    """
    unit, m = _unit(sources), len(sources)
    if m < 2:
        raise DataError(f"the likeness of {m} pictures: need two or more")
    return float(100 * (unit.sum(0).square().sum() - m) / (m * (m - 1)))


def best_five(image: Float[Tensor, " n"], text: Float[Tensor, " n"]) -> Int64[Tensor, " k"]:
    """The BEST pictures, or all of fewer, with most image + TEXT_WEIGHT * text; best first.

    Of equal ones the earlier.
    """
    return (image + TEXT_WEIGHT * text).argsort(descending=True, stable=True)[:BEST]


@dataclass(frozen=True)
class PromptGrade:
    """The course's grade of a prompt: the mean scores of its `best` pictures; means of all."""

    best: Int64[Tensor, " k"]
    best_image: float
    best_text: float
    image: Interval
    text: Interval

    def passes(self, baseline: Sequence[float]) -> bool:
        """Whether the best pictures reach both the image and the text score of `baseline`."""
        return self.best_image >= baseline[0] and self.best_text >= baseline[1]


def grade_prompt(image: Float[Tensor, " n"], text: Float[Tensor, " n"], seed: int) -> PromptGrade:
    """The grade of a prompt's pictures by their scores. Raises DataError for no pictures."""
    best = best_five(image, text)
    means = bootstrap(image, seed), bootstrap(text, seed)
    return PromptGrade(best, float(image[best].mean()), float(text[best].mean()), *means)


def presence_threshold(others: Float[Tensor, "n d"], sources: Float[Tensor, "m d"]) -> float:
    """The highest image score for a concept that pictures without it reach.

    Args:
        others: embeddings of all other concepts' source pictures.
        sources: embeddings of the concept's own.

    Raises DataError if either has none.
    """
    if not len(others):
        raise DataError("a threshold from no pictures of other concepts: need one or more")
    return float(image_scores(others, sources).max())


def both_scores(own: Float64[Tensor, "n concepts"]) -> Float64[Tensor, " n"]:
    """The smallest of a picture's image scores for the concepts that it shall show."""
    return own.amin(1)


def both_there(
    own: Float64[Tensor, "n concepts"], thresholds: Float64[Tensor, " concepts"]
) -> Bool[Tensor, " n"]:
    """Whether each of a picture's image scores is above its concept's `presence_threshold`.

    For an object that is: more like its pictures than any picture without it. A style is in no
    one place, and CLIP's embedding tells of content first, so an object in a style never reaches
    the scores of the style's own pictures. The same threshold is fair to it none the less: it asks
    for more of the style than the object's plain pictures have, which is what the style shall add.
    It is strict where other concepts' pictures happen to look like it, and lax where they are few.
    """
    return (own > thresholds).all(1)


@dataclass(frozen=True)
class TogetherScore:
    """Pictures that shall show several concepts: `own` has the mean image score for each.

    `both` is the mean of the smallest, `there` the share of pictures that show all.
    """

    own: tuple[Interval, ...]
    both: Interval
    there: Interval


def score_together(
    own: Float64[Tensor, "n concepts"], thresholds: Float64[Tensor, " concepts"], seed: int
) -> TogetherScore:
    """The scores of n pictures by their image scores for each concept.

    `both` compares scores of unlike scales (see `likeness_of_sources`): it is meant for
    differences between ways of drawing the same prompt. Raises DataError for no pictures.
    """
    means = tuple(bootstrap(scores, seed) for scores in own.T)
    there = wilson(int(both_there(own, thresholds).sum()), len(own))
    return TogetherScore(means, bootstrap(both_scores(own), seed), there)
