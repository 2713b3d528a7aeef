"""What a trial of the eta sweep draws from which noise, and what it is compared with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import ConfigError
from hw2.faces.drawing import draw_faces, to_bytes
from hw2.faces.ground_truth import squared_error
from hw2.faces.loading import FaceModel
from hw2.faces.sweep import EtaInputs, EtaWork, read_inputs, refuse_unmeasured
from hw2.metrics.frechet import frechet_estimate, kernel_estimate
from hw2.metrics.jackknife import interval_of
from hw2.models.random_features import RandomFeatures
from hw2.pixels import to_unit
from hw2.settings.faces import EtaSettings
from hw2.settings.sweeps import TuneEtaConfig
from hw2.sweeps.space import Point
from hw2.sweeps.trial import Arrays
from hw2.yaml_text import read_yaml
from tests.jobs.command import ROOT

SEED, SETTINGS = 4, EtaSettings(num_inference_steps=4)


class Shrinks(nn.Module):
    """A network that calls a part of its picture noise."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return 0.3 * xt


def drawn(start: Tensor, index: int, eta: float, seed: int = SEED) -> Tensor:
    """The picture of one noise, by itself."""
    model, told = FaceModel(Shrinks()), {"eta": eta, "seed": seed, "indices": [index]}
    return to_bytes(draw_faces(model, start[None], SETTINGS, **told), "fixed")[0]


@pytest.fixture
def work() -> EtaWork:
    """With two given noises, of which both have a given picture."""
    given = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    truth = torch.stack([drawn(noise, 0, eta=0) for noise in given])
    truth[1] = truth[1] // 2
    inputs = EtaInputs(given, truth, torch.empty(0, 3, 1, 1, dtype=torch.uint8), {})
    real = torch.empty(0, 64)
    return EtaWork(FaceModel(Shrinks()), SETTINGS, inputs, real, RandomFeatures(), SEED, "fp32")


def test_given_noises_come_first_and_each_picture_has_its_own_fresh_noise(work: EtaWork) -> None:
    asked: list[Point] = []

    def of_trial(point: Point) -> Arrays:
        asked.append(point)
        return work.draw(point, range(4), of_trial)

    found = work.draw({"eta": 1.0}, range(4), of_trial)
    own = CounterRandom(SEED, 0, [2, 3]).normal(Stream.START, 3, 32, 32)
    starts = [*work.inputs.noises, *own]
    for index, start in enumerate(starts):
        for name, eta, seed in (("images", 1, SEED), ("still", 0, SEED), ("again", 1, SEED + 1)):
            assert np.array_equal(found[name][index], drawn(start, index, eta, seed)), (name, index)
    assert asked == [{"eta": 0}]
    later = work.draw({"eta": 1.0}, range(2, 4), of_trial)
    assert np.array_equal(later["images"], found["images"][2:]) and not len(later["again"])


def test_each_picture_is_compared_with_the_given_one_of_its_noise(work: EtaWork) -> None:
    found = work.draw({"eta": 0}, range(4), lambda point: {})
    scores, outcomes = work.score({"eta": 0}, found)
    images = torch.from_numpy(found["images"])
    want = squared_error(images[:2], work.inputs.truth)
    assert want[0] == 0 and want[1] > 1
    assert outcomes["mse"].tolist() == want.tolist()
    assert scores["mse"].value == pytest.approx(float(want.mean()))
    assert scores["repeated"].value == 1 and len(outcomes["distance"]) == 4


def test_drawn_faces_are_compared_with_the_real_ones(work: EtaWork) -> None:
    drawn = work.draw({"eta": 0}, range(4), lambda point: {})
    real = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    scores, _ = replace(work, real=real).score({"eta": 0}, drawn)
    own = work.features(to_unit(torch.from_numpy(drawn["images"])))
    assert interval_of(scores["frechet"]) == frechet_estimate(own, real).interval
    assert interval_of(scores["kernel"]) == kernel_estimate(own, real).interval
    assert scores["frechet"].value > 0


@pytest.mark.parametrize("name", ["report_full", "report_local"])
def test_a_report_chooses_by_what_eta_0_need_not_win(work: EtaWork, name: str) -> None:
    scores, _ = work.score({"eta": 0}, work.draw({"eta": 0}, range(4), lambda point: {}))
    assert scores["distance"].value == 0  # always: it is the distance from itself
    step = read_yaml(ROOT / f"jobs/configs/{name}.yaml")["steps"]["eta"]
    metric = step["settings"].get("metric", TuneEtaConfig.model_fields["metric"].default)
    assert scores[metric].value != 0


def test_given_pictures_count_up_to_the_first_that_is_missing(tmp_path: Path) -> None:
    """They go by place: one behind a gap would be compared with another noise's."""
    for name in ("noise", "GT", "real"):
        (tmp_path / name).mkdir()
    for index in range(3):
        torch.save(torch.full((1, 3, 32, 32), float(index)), tmp_path / f"noise/{index:02d}.pt")
    for index in (0, 2):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(tmp_path / f"GT/{index:02d}.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "real/a.png")
    told = {"noise": tmp_path / "noise", "real": tmp_path / "real"}
    config = TuneEtaConfig(out=tmp_path / "out", space={"eta": {"grid": [0]}}, **told)
    found = read_inputs(config)
    assert len(found.noises) == 3 and len(found.truth) == 1 and len(found.real) == 1
    assert found.hashes.keys() == {"noise", "gt", "real"}
    Image.new("RGB", (32, 32), (9, 0, 0)).save(tmp_path / "GT/00.png")
    other = read_inputs(config).hashes
    assert {key for key in other if other[key] != found.hashes[key]} == {"gt"}


@pytest.mark.parametrize(
    ("told", "measured"),
    [
        ({"metric": "mse"}, ("truth",)),
        ({"metric": "frechet"}, ("real",)),
        ({"metric": "kernel"}, ("real",)),
        ({"metric": "frechet", "samples": 1}, ()),
        ({"metric": "distance"}, ("truth", "real", "")),
    ],
)
def test_what_decides_is_measured(
    tmp_path: Path, told: dict[str, Any], measured: tuple[str, ...]
) -> None:
    config = TuneEtaConfig(out=tmp_path, space={"eta": {"grid": [0]}}, **told)
    pictures = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    for given in ("truth", "real", ""):
        kinds = {kind: pictures if kind == given else pictures[:0] for kind in ("truth", "real")}
        inputs = EtaInputs(noises=torch.zeros(2, 3, 32, 32), hashes={}, **kinds)
        if given in measured:
            refuse_unmeasured(config, inputs)
        else:
            with pytest.raises(ConfigError, match=f"^metric={told['metric']}: "):
                refuse_unmeasured(config, inputs)
