"""Features of a network that was never trained: the same for everybody."""

import torch
from torch.testing import assert_close

from hw2.models.random_features import RandomFeatures

PICTURES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_features_do_not_depend_on_who_makes_them() -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(RandomFeatures()(PICTURES))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found) and found[0].std(0).max() > 0


def test_large_pictures_are_averaged_down() -> None:
    large = PICTURES.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert_close(RandomFeatures()(large), RandomFeatures()(PICTURES))
