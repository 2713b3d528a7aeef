"""Scores and sheets of drawn faces, and the pictures that they are compared with."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data.noises import Noises, read_noises
from hw2.diffusion.interpolation import interpolants
from hw2.errors import DataError
from hw2.faces.ground_truth import ground_truth_folder, read_ground_truth, squared_error
from hw2.faces.report import report_etas, report_faces, report_interpolation
from hw2.runlog.tracker import Tracker
from hw2.settings.faces import EtaSheetConfig, InterpolateFacesConfig, SampleFacesConfig

IMAGES = np.random.default_rng(0).integers(10, 246, (22, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    """A run whose rows stay in the journal."""
    with Tracker(tmp_path, "run", None, owner=False) as tracker:
        yield tracker


def save(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, image in zip(names, IMAGES, strict=False):
        Image.fromarray(image).save(folder / f"{name}.png")


@pytest.fixture
def noises(tmp_path: Path) -> Noises:
    """The noises "00" to "02", in tmp_path/noise."""
    (tmp_path / "noise").mkdir()
    for index in range(3):
        torch.save(torch.zeros(1, 3, 32, 32), tmp_path / "noise" / f"{index:02d}.pt")
    return read_noises(tmp_path / "noise")


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def test_each_picture_must_pass_and_not_their_mean(
    tmp_path: Path, tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, "a", "b", "c")
    images = torch.from_numpy(IMAGES[:3]).movedim(-1, 1)
    config = SampleFacesConfig(out=tmp_path)
    report_faces(config, ["a", "b", "c"], {"a": images[0], "c": images[2] + 4}, tracker)
    metrics = metrics_of(tmp_path)
    assert metrics["mse_by_picture"] == {"a": 0, "c": 16}
    assert metrics["mse"]["value"] == 8
    assert (metrics["compared"], metrics["pictures"]) == (2, 3)
    told = "warning: among the given pictures there is no b.png: not compared\n"
    assert capsys.readouterr().err == told
    assert metrics["passed"] is True
    report_faces(config, ["a", "b", "c"], {"a": images[0], "c": images[2] - 5}, tracker)
    assert metrics_of(tmp_path)["mse"]["value"] == 12.5
    assert metrics_of(tmp_path)["passed"] is False
    report_faces(config, ["a", "b", "c"], {}, tracker)
    assert metrics_of(tmp_path) == {"pictures": 3}


def test_more_faces_than_a_row_go_to_several_sheets(tmp_path: Path, tracker: Tracker) -> None:
    names = [f"{index:02d}" for index in range(12)]
    save(tmp_path, *names)
    report_faces(SampleFacesConfig(out=tmp_path), names, {}, tracker)
    sheets = sorted((tmp_path / "figures").iterdir())
    assert [path.name for path in sheets] == ["faces_1.png", "faces_2.png"]
    for path, count in zip(sheets, (10, 2), strict=True):
        with Image.open(path) as sheet:  # pictures of 96, 2 between and 8 around
            assert sheet.width >= count * 96 + (count - 1) * 2 + 16
    with Image.open(sheets[1]) as sheet:
        scaled = np.array(sheet)
    last = np.repeat(np.repeat(IMAGES[11], 3, 0), 3, 1)
    bottom = scaled[-8 - 96 : -8, 8 + 98 : 8 + 98 + 96]
    assert np.array_equal(bottom, last)


def test_distances_from_the_first_eta(tmp_path: Path, tracker: Tracker) -> None:
    config = EtaSheetConfig(out=tmp_path, noises=("x", "y"), etas=(0.5, 0, 1))
    save(tmp_path, *(f"{name}_eta_{eta}" for name in "xy" for eta in ("0.5", "0", "1")))
    report_etas(config, tracker)
    rows = IMAGES[:6].reshape(2, 3, -1).astype(np.float64)
    want = np.sqrt(((rows - rows[:, :1]) ** 2).mean(-1)).mean(0)
    metrics = metrics_of(tmp_path)
    found, added = metrics["distance_from_first_eta"], metrics["added_to_the_eta_below"]
    assert [found[eta]["value"] for eta in ("0.5", "0", "1")] == pytest.approx(want.tolist())
    assert list(added) == ["0.5", "1"]
    steps = want[0] - want[1], want[2] - want[0]
    assert [added[eta]["value"] for eta in added] == pytest.approx(steps)


def test_what_an_eta_adds_is_taken_in_pairs(tmp_path: Path, tracker: Tracker) -> None:
    """Noises far apart in their distances, of which each grows by about 4."""
    config = EtaSheetConfig(out=tmp_path, noises=tuple("abcd"), etas=(0, 0.5, 1))
    for noise, far in zip("abcd", (10, 60, 110, 160), strict=True):
        for eta, value in (("0", 0), ("0.5", far), ("1", far + 3 + far % 3)):
            face = Image.new("RGB", (32, 32), (value,) * 3)
            face.save(tmp_path / f"{noise}_eta_{eta}.png")
    report_etas(config, tracker)
    metrics = metrics_of(tmp_path)
    apart, added = metrics["distance_from_first_eta"], metrics["added_to_the_eta_below"]
    assert apart["1"]["low"] < apart["0.5"]["high"]
    assert 2 < added["1"]["low"] <= added["1"]["value"] <= added["1"]["high"] < 6


def test_ways_between_two_noises(tmp_path: Path, tracker: Tracker) -> None:
    config = InterpolateFacesConfig(out=tmp_path)
    save(tmp_path, *(f"{way}_{index:02d}" for way in ("slerp", "lerp") for index in range(11)))
    a, b = torch.zeros(2, 3, 32, 32).unbind()
    a[0, 0, 0], b[0, 0, 1] = 3, 3
    report_interpolation(config, interpolants(a, b, 11), tracker)
    metrics = metrics_of(tmp_path)
    steps = np.diff(IMAGES.reshape(2, 11, -1).astype(np.float64), axis=1)
    jumps = np.sqrt((steps**2).mean(-1))
    drawn = IMAGES.reshape(2, 11, -1).astype(np.float64)
    norms = (3, 3 / 2**0.5)
    for way, jump, middle, pictures in zip(("slerp", "lerp"), jumps, norms, drawn, strict=True):
        want = {
            "norm_at_the_middle": middle,
            "norm_at_the_ends": 3,
            "length_of_the_path": jump.sum(),
            "largest_step": jump.max(),
            "contrast_at_the_middle": pictures[5].std(),
        }
        assert metrics[way] == pytest.approx(want, rel=1e-5)


def test_where_given_pictures_are_looked_for(tmp_path: Path, noises: Noises) -> None:
    noise, beside = tmp_path / "noise", tmp_path / "GT"
    assert ground_truth_folder(noise, None) is None
    save(beside, "00")
    assert ground_truth_folder(noise, None) == beside
    save(tmp_path / "mine", "02", "07")
    assert ground_truth_folder(noise, tmp_path / "mine") == tmp_path / "mine"
    for gt, said in (("none", "no such folder"), ("noise", "holds none of 00.png, 01.png, 02.png")):
        with pytest.raises(DataError, match=f"^gt={tmp_path}/{gt}: {said}"):
            ground_truth_folder(noise, tmp_path / gt)


def test_given_pictures_go_by_the_names_of_noises(tmp_path: Path, noises: Noises) -> None:
    save(tmp_path / "GT", "02", "00", "07")
    found = read_ground_truth(tmp_path / "GT", noises)
    assert list(found) == ["00", "02"]
    assert torch.equal(found["00"], torch.from_numpy(IMAGES[1]).movedim(-1, 0))
    images = torch.stack([found["02"], found["00"]])
    want = ((IMAGES[0].astype(np.float64) - IMAGES[1]) ** 2).mean()
    assert squared_error(images, images.flip(0)).tolist() == pytest.approx([want, want])

    (tmp_path / "GT" / "01.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"^{tmp_path}/GT/01.png: not a picture"):
        read_ground_truth(tmp_path / "GT", noises)
    Image.new("RGB", (64, 32)).save(tmp_path / "GT" / "01.png")
    with pytest.raises(DataError, match=f"^{tmp_path}/GT/01.png is 64x32, its noise 32x32$"):
        read_ground_truth(tmp_path / "GT", noises)
