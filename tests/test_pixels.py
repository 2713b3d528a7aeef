"""Pictures as numbers: the map to bytes."""

import math

import torch

from hw2.pixels import to_uint8, to_unit


def test_to_uint8_is_exact_on_known_values() -> None:
    known = {-1.0: 0, 1.0: 255, 0.0: 128, -7.0: 0, 1.01: 255, -0.5: 64, 0.5: 191, math.nan: 128,
             math.inf: 255, -math.inf: 0}  # fmt: skip
    x = torch.tensor(list(known)).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    found = to_uint8(x)
    assert found.shape == (len(known), 3, 2, 2)
    assert found[:, 2, 1, 1].tolist() == list(known.values())


def test_to_uint8_inverts_the_map_of_the_data_for_every_level() -> None:
    levels = torch.arange(256).to(torch.uint8)
    pictures = levels.view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(pictures.float() / 127.5 - 1, to_unit(pictures))
    assert torch.equal(to_uint8(to_unit(pictures)), pictures)


def test_to_uint8_does_not_stretch_a_dim_picture() -> None:
    dim, bright = torch.full((1, 3, 4, 4), -0.9), torch.ones(1, 3, 4, 4)
    assert torch.equal(to_uint8(torch.cat([dim, bright]))[0], to_uint8(dim)[0])
