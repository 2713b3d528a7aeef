"""What the judge's training is made of, and what it is measured on."""

from functools import partial
from pathlib import Path

import pytest
import torch

from hw2.data.batches import Shuffled
from hw2.data.digits import DigitSplit, read_splits
from hw2.digits.judge_training import held_out_accuracy, judge_accuracy, judge_training
from hw2.digits.judging import JUDGE_SIZE, judge_pictures
from hw2.metrics.intervals import wilson
from hw2.models.judge import build_judge
from hw2.settings.data import DataConfig
from hw2.settings.digits import TrainJudgeConfig
from hw2.settings.training import TrainConfig


def test_a_training_is_what_its_settings_say(digits_tree: Path, tmp_path: Path) -> None:
    config = TrainJudgeConfig(
        out=tmp_path,
        seed=6,
        data=DataConfig(root=digits_tree, cache=tmp_path),
        train=TrainConfig(num_steps=1, batch_size=4),
    )
    training = judge_training(config, tmp_path)
    fresh = build_judge(6).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in training.net.state_dict().items())
    train, val = read_splits(config.data, JUDGE_SIZE).values()
    own, want = (of.batch(2, (0, 3), 4) for of in (training.source, Shuffled(train.whole, 6)))
    assert all(map(torch.equal, own, want))
    measured = training.evaluate
    assert isinstance(measured, partial) and measured.func is held_out_accuracy
    assert measured.args[0].content_hash == val.content_hash
    assert training.seed == 6
    assert training.meta == {"kind": "judge", "data_hash": train.content_hash, "seed": 6}


def test_the_loss_is_the_share_read_wrong_of_both_domains_alike() -> None:
    judge, domains = build_judge(0).eval(), (torch.arange(40) >= 30).long()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 3, 28, 28), dtype=torch.uint8, generator=generator)
    said = judge_pictures(judge, images, domains, domains).predictions
    digits = torch.where(torch.arange(40) % 3 > 0, said, (said + 1) % 10)  # 20 of 30, 6 of 10
    split = DigitSplit(images, digits, domains, "", ())
    assert judge_accuracy(judge, split) == {"mnistm": wilson(20, 30), "svhn": wilson(6, 10)}
    assert held_out_accuracy(split, judge) == pytest.approx(
        {
            "eval/loss": 1 - (20 / 30 + 6 / 10) / 2,
            "eval/accuracy/mnistm": 20 / 30,
            "eval/accuracy/svhn": 6 / 10,
        }
    )
    rows = slice(30)
    alone = DigitSplit(images[rows], digits[rows], domains[rows], "", ())
    assert judge_accuracy(judge, alone) == {"mnistm": wilson(20, 30)}
