"""Features of a network that was never trained: the same for everybody."""

import torch
from torch.nn import functional as F
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
    large = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert_close(RandomFeatures()(large), RandomFeatures()(F.avg_pool2d(large, 2)))


def test_features_are_those_that_results_were_measured_by() -> None:
    ramp = torch.linspace(-1, 1, 32)
    picture = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), torch.ones(32, 32)])
    found = RandomFeatures()(picture[None])
    assert found.shape == (1, 64) and not found.requires_grad
    want = torch.tensor([0.03229, 0.23251, 0.05717, 0.00182])
    assert_close(found[0, :4], want, rtol=0, atol=1e-4)
    assert_close(float(found.sum()), 4.4855, rtol=0, atol=1e-3)
