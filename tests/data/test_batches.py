"""Which samples a step of a training has, and what belongs to each."""

from typing import NamedTuple

import numpy as np
import torch

from hw2.data.batches import CaptionBatch, Epochs, Shuffled
from hw2.data.digits import DigitSplit
from hw2.diffusion.counter import permutation
from hw2.diffusion.objective import PictureBatch

SIZE, BATCH = 10, 4


class Numbered(NamedTuple):
    number: torch.Tensor


def seen(seed: int) -> list[int]:
    """The samples of the first 15 steps, one after the other."""
    epochs = Epochs(SIZE, seed)
    found = [epochs.at(np.arange(first, first + BATCH)) for first in range(0, 15 * BATCH, BATCH)]
    return torch.cat(found).tolist()


def test_each_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    epochs = torch.tensor(seen(0)).view(-1, SIZE)
    assert epochs.sort(1).values.tolist() == [[*range(SIZE)]] * 6
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
    assert seen(1) != seen(0)


def test_an_epoch_goes_through_its_permutation() -> None:
    found = Epochs(SIZE, 3).at(np.arange(2 * SIZE))
    want = [permutation(3, epoch, SIZE) for epoch in (0, 1)]
    assert found.tolist() == np.concatenate(want).tolist()


def test_a_part_of_a_later_step_is_the_same_without_the_steps_before() -> None:
    whole, samples = torch.tensor(seen(0)).view(-1, BATCH), torch.arange(SIZE)
    for step in (8, 2, 15, 3):  # the last of an epoch, and two that straddle two epochs
        batch = Shuffled(Numbered(samples), 0).batch(step, (1, 3), BATCH)
        assert batch.number.tolist() == whole[step - 1][[1, 3]].tolist()


def test_labels_and_captions_stay_with_their_pictures() -> None:
    number = torch.arange(SIZE)
    images = number.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    tokens = torch.stack([number // 3, -number // 3], dim=1)  # captions of up to three pictures
    want = Epochs(SIZE, seed=5).at(2 * BATCH + np.array([3, 0, 2]))
    digits, pictures, captioned = (
        source.batch(3, (3, 0, 2), BATCH)
        for source in (
            Shuffled(DigitSplit(images, number, number % 2, "", ()).whole, seed=5),
            Shuffled(PictureBatch(images), seed=5),
            Shuffled(CaptionBatch(images, tokens, number // 3), seed=5),
        )
    )
    for batch in (digits, pictures, captioned):
        assert torch.equal(batch.images, images[want])
    assert torch.equal(digits.digit, want) and torch.equal(digits.domain, want % 2)
    assert torch.equal(captioned.tokens, tokens[want])
    assert torch.equal(captioned.captions, want // 3)
