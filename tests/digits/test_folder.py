"""What the reverse strip of a folder shows."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.digits.drawing import digit_model, draw
from hw2.digits.folder import (
    COST,
    draw_missing,
    pieces_to_draw,
    read_cost,
    reverse_paths,
    write_pieces,
    write_sheets,
)
from hw2.models.digit_unet import build_digit_unet
from hw2.settings.digits import DiffusionConfig, NetworkConfig, SampleDigitsConfig

NETWORK = NetworkConfig(channels=(64,), attention=(False,), patch=4)


@pytest.mark.parametrize(
    ("strip_timesteps", "shown"),
    [((40, 20, 0), [0, 20, 40]), (None, [0, 10, 20, 30, 40])],  # four steps have five states
)
def test_the_strip_has_each_state_once_and_by_its_name(
    tmp_path: Path, strip_timesteps: Any, shown: list[int]
) -> None:
    config = SampleDigitsConfig(
        out=tmp_path, num_inference_steps=4, num_per_class=1, strip_timesteps=strip_timesteps
    )
    model = digit_model(
        build_digit_unet(NETWORK, 0).eval(), DiffusionConfig(num_train_timesteps=40)
    )
    drawn = asdict(draw(model, config.sample, domain=0, indices=[1], seed=0))
    piece = {"domain": "mnistm", "first": 1, "wanted": 1}
    assert sum(write_pieces([piece | drawn], tmp_path, config)) == 10
    frames = {int(path.stem[-4:]): path for path in (tmp_path / "reverse").iterdir()}
    assert sorted(frames) == shown
    for level, path in frames.items():
        expected = drawn["frames"][drawn["frame_levels"].index(level)]
        assert np.array_equal(np.asarray(Image.open(path)).transpose(2, 0, 1), expected.numpy())
    widths = [28 * 4 * len(shown), 28 * 4 * (len(shown) + 1)]
    with Image.open(reverse_paths(tmp_path, "mnistm")[0]) as strip:
        assert widths[0] <= strip.width < widths[1]


def one_drawn(out: Path) -> tuple[SampleDigitsConfig, dict[str, Any]]:
    """A folder of one picture of each digit, and the piece that it was drawn in."""
    config = SampleDigitsConfig(
        out=out, num_inference_steps=4, num_per_class=1, domains=("mnistm",)
    )
    network = build_digit_unet(NETWORK, 0).eval()
    model = digit_model(network, DiffusionConfig(num_train_timesteps=40))
    drawn = asdict(draw(model, config.sample, domain=0, indices=[1], seed=0))
    piece = {"domain": "mnistm", "first": 1, "wanted": 1}
    assert sum(write_pieces([piece | drawn], out, config)) == 10
    assert pieces_to_draw(config, out) == ([], 10)
    return config, piece


@pytest.mark.parametrize("spoilt", ["", "[1]", '{"eval/network_calls": "many"}'])
def test_a_cost_that_is_none_is_drawn_again(tmp_path: Path, spoilt: str) -> None:
    config, piece = one_drawn(tmp_path)
    assert read_cost(tmp_path)
    (tmp_path / COST).write_text(spoilt)
    assert pieces_to_draw(config, tmp_path) == ([piece], 0) and not read_cost(tmp_path)


def test_a_reverse_process_that_is_gone_is_drawn_again(tmp_path: Path) -> None:
    config, piece = one_drawn(tmp_path)
    states = sorted((tmp_path / "reverse").iterdir())
    shown = config.model_copy(update={"strip_timesteps": (40, 30, 20, 10, 0)})
    assert pieces_to_draw(shown, tmp_path) == ([], 10)
    states[0].unlink()
    assert pieces_to_draw(shown, tmp_path) == ([piece], 0)
    for state in states[1:]:
        state.unlink()
    assert pieces_to_draw(config, tmp_path) == ([piece], 0)
    one_drawn(tmp_path)
    reverse_paths(tmp_path, "mnistm")[1].unlink()
    assert pieces_to_draw(config, tmp_path) == ([piece], 0)


def test_a_sheet_has_ten_columns_at_most(tmp_path: Path) -> None:
    widths = []
    for count in (10, 12):
        config = SampleDigitsConfig(out=tmp_path, num_per_class=count, domains=("mnistm",))
        images = torch.zeros(10 * count, 3, 28, 28, dtype=torch.uint8)
        with Image.open(write_sheets(images, tmp_path, config)[0]) as sheet:
            widths.append(sheet.width)
    assert widths[0] == widths[1]


@pytest.mark.parametrize(("size", "told"), [(5, ""), (6, "indices_per_chunk=6: 6 of each digit ")])
def test_a_chunk_of_more_than_is_wanted_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, told: str
) -> None:
    config = SampleDigitsConfig(out=tmp_path, num_per_class=2, indices_per_chunk=size)

    def unused(on_gpu: bool) -> Any:
        raise AssertionError("there is nothing to draw")

    draw_missing(config, unused, tmp_path, lambda make, pieces, scaling: iter(()))
    said = capsys.readouterr().err
    assert told in said and bool(told) == ("indices_per_chunk" in said)
