"""Two folders of digits from the same noises."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hw2.digits.compared import compare, pairs_with, part_of
from hw2.digits.folder import picture_path
from hw2.domains import DOMAINS
from hw2.errors import ConfigError
from hw2.metrics.digit_metrics import JudgedPictures
from hw2.metrics.digit_scores import score_digits
from hw2.metrics.paired import difference_over_noises
from hw2.settings.digits import SampleDigitsConfig


def read(right: torch.Tensor) -> JudgedPictures:
    """What a judge says that reads these right, (domains, 10, noises)."""
    count = right.shape[2]
    digits = torch.arange(10).repeat_interleave(count).repeat(len(right))
    domains = torch.arange(len(right)).repeat_interleave(10 * count)
    said = torch.where(right.flatten(), digits, (digits + 1) % 10)
    nothing = torch.zeros(len(digits), 1)
    return JudgedPictures(said, digits, domains, nothing, nothing)


def test_differences_are_of_the_same_noises() -> None:
    config = SampleDigitsConfig(out=Path("never"), num_per_class=4)
    this, other = torch.ones(2, 10, 4, dtype=torch.bool), torch.ones(2, 10, 4, dtype=torch.bool)
    other[0, 3:8, 1] = False  # five digits of one noise, mnistm
    this[1, 0, 2] = False
    mnistm, svhn, mean = compare(read(this), read(other), read(this), config)[:3]
    assert [one.domain for one in (mnistm, svhn, mean)] == ["mnistm", "svhn", "mean"]
    assert [(one.only_this, one.only_other) for one in (mnistm, svhn, mean)] == [
        (5, 0),
        (0, 1),
        (5, 1),
    ]
    assert mnistm.interval.value == pytest.approx(5 / 40)
    assert mean.interval.value == pytest.approx(4 / 80)
    # One noise of four has it all: the digits of a noise are not independent.
    by_noise = torch.tensor([0.0, 5 / 20, -1 / 20, 0.0], dtype=torch.float64)
    assert mean.interval == difference_over_noises(by_noise, 20)
    assert mnistm.interval == difference_over_noises(torch.tensor([0, 0.5, 0, 0]).double(), 10)


def test_the_part_that_both_have_is_taken_of_what_was_judged() -> None:
    config = SampleDigitsConfig(out=Path("never"), num_per_class=4)
    right = torch.arange(80).view(2, 10, 4) % 3 > 0
    shared = config.model_copy(update={"domains": ("svhn",), "num_per_class": 3})
    part = part_of(read(right), config, shared)
    assert part.domains.unique().tolist() == [1]
    assert torch.equal(part.digits, torch.arange(10).repeat_interleave(3))
    assert torch.equal(part.predictions == part.digits, right[1, :, :3].flatten())


def made(folder: Path, **record: Any) -> Path:
    folder.mkdir()
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in record.items())
    (folder / "config.yaml").write_text(text)
    (folder / "metrics.json").write_text("{}")
    for domain in record.get("domains") or DOMAINS:
        for digit in range(10):
            path = picture_path(folder, domain, digit, min(50, record.get("num_per_class", 1)))
            path.parent.mkdir(exist_ok=True)
            path.touch()
    return folder


def test_what_both_have_is_compared(tmp_path: Path) -> None:
    training = made(tmp_path / "training", seed=0, num_per_class=10)
    config = SampleDigitsConfig(out=Path("never"), against=training)
    assert pairs_with(config).num_per_class == 10
    assert pairs_with(config).domains == ("mnistm", "svhn")
    half = made(tmp_path / "half", seed=0, num_per_class=90, domains=["svhn"])
    shared = pairs_with(config.model_copy(update={"against": half}))
    assert (shared.num_per_class, shared.domains) == (50, ("svhn",))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    def told(folder: Path, **more: object) -> str:
        with pytest.raises(ConfigError) as caught:
            pairs_with(SampleDigitsConfig(out=Path("never"), against=folder, **more))
        return str(caught.value)

    assert told(tmp_path) == f"against={tmp_path}: no finished folder of jobs.sample_digits"
    other = made(tmp_path / "other", seed=1, num_per_class=10)
    assert "drawn with seed=1, this with seed=0: pairs are drawn from the same" in told(other)
    half = made(tmp_path / "half", seed=0, num_per_class=9, domains=["svhn"])
    assert told(half, domains=("mnistm",)).endswith("half: has svhn alone")
    wider = made(tmp_path / "wider", seed=0, num_per_class=10)
    gone = picture_path(wider, "svhn", 9, 10)
    gone.unlink()
    assert told(wider).endswith(f"{gone} is not drawn yet: its own command draws it")
    for wrong in ({}, {"num_per_class": 0}, {"num_per_class": 10, "domains": None}):
        other = made(tmp_path / f"other{len(wrong)}", seed=0, **wrong)
        assert told(other).endswith(f"{other}: no folder of jobs.sample_digits")


def test_other_figures_are_compared_in_pairs_too() -> None:
    """Pictures of the same noises, of which the second's lie a little further apart."""
    random = torch.Generator().manual_seed(0)
    config = SampleDigitsConfig(out=Path("never"), domains=("svhn",), num_per_class=20)

    def judged(features: torch.Tensor) -> JudgedPictures:
        digits = torch.arange(10).repeat_interleave(len(features) // 10)
        ones = torch.ones_like(digits)
        return JudgedPictures(digits, digits, ones, features, features)

    features, real = torch.randn(200, 4, generator=random), torch.randn(300, 4, generator=random)
    here, there = judged(1.1 * features), judged(features)
    found = {(a.metric, a.domain): a for a in compare(here, there, judged(real), config)}
    spread = found["diversity", "svhn"]
    assert spread.noises == 20 and spread.only_this is None
    alone = [score_digits(x, judged(real)).get("diversity", "svhn") for x in (here, there)]
    assert spread.interval.value == pytest.approx(alone[0].value - alone[1].value)
    assert alone[0].low < alone[1].high  # which alone would not show
    assert spread.interval.differs and spread.interval.low > 0
    assert vars(found["diversity", "mean"].interval) == pytest.approx(vars(spread.interval))
    assert ("frechet_judge", "svhn") in found and ("frechet_judge", "mean") not in found
    assert found["accuracy", "svhn"].interval.value == 0
