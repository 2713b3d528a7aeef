"""The judge's training put together."""

from functools import partial
from pathlib import Path

from torch import nn

from hw2.data.batches import Shuffled
from hw2.data.digits import DigitSplit, read_splits
from hw2.digits.judging import JUDGE_SIZE, judge_objective, judge_pictures
from hw2.domains import DOMAINS
from hw2.metrics.intervals import Interval, wilson
from hw2.models.judge import Judge, build_judge
from hw2.settings.digits import TrainJudgeConfig
from hw2.training import Training


def judge_accuracy(judge: Judge, split: DigitSplit) -> dict[str, Interval]:
    """Share of a split's pictures that `judge` reads right, by domain, with Wilson limits."""
    read = judge_pictures(judge, split.images, split.digits, split.domains)
    right = read.predictions == read.digits
    rows = {name: split.domains == index for index, name in enumerate(DOMAINS)}
    return {k: wilson(int(right[v].sum()), int(v.sum())) for k, v in rows.items() if v.any()}


def held_out_accuracy(split: DigitSplit, net: nn.Module) -> dict[str, float]:
    """Accuracy on a split by domain; `eval/loss` is the mean share read wrong."""
    assert isinstance(net, Judge)
    found = {k: v.value for k, v in judge_accuracy(net, split).items()}
    wrong = 1 - sum(found.values()) / len(found)
    return {"eval/loss": wrong, **{f"eval/accuracy/{k}": v for k, v in found.items()}}


def judge_training(config: TrainJudgeConfig, out: Path) -> Training:
    """The training that `config` describes, with results in `out`."""
    train, val = read_splits(config.data, JUDGE_SIZE).values()
    return Training(
        net=build_judge(config.seed),
        objective=judge_objective,
        source=Shuffled(train.whole, config.seed),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={"kind": "judge", "data_hash": train.content_hash, "seed": config.seed},
        evaluate=partial(held_out_accuracy, val),
    )
