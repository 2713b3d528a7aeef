"""The three jobs on faces: what they leave, whose bytes agree, what they refuse."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torchvision.utils import save_image

from hw2.models.course_unet import from_course
from tests.attacks.hostile import Trap
from tests.faces.reference import diffusers_ddim
from tests.jobs.command import Folder

NAMES = ["00", "01", "02", "03", "04"]
ETAS = ("0", "0.25", "0.5", "0.75", "1")


def settings(face: Path, out: object, **more: object) -> dict[str, object]:
    """Five steps, noises in chunks of two, in this process."""
    return {
        "model": face / "UNet.pt",
        "noise": face / "noise",
        "out": out,
        "num_inference_steps": 5,
        "noises_per_chunk": 2,
        "scaling.num_workers": 0,
    } | more


def pictures(out: Path) -> dict[str, bytes]:
    """All pictures of a job but its figures, by name."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.png"))}


def pixels(path: Path) -> Tensor:
    with Image.open(path) as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")
        return torch.from_numpy(np.array(picture)).double()


def rms(one: Path, other: Path) -> float:
    return float((pixels(one) - pixels(other)).square().mean().sqrt())


def metrics_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """One working folder for all that is drawn here, so that MLflow's store is made once."""
    return Folder(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def by_diffusers(face_tree: Path) -> Tensor:
    """The pictures of all noises as diffusers' own DDIM draws them, about in [-1, 1]."""
    net = from_course(torch.load(face_tree / "UNet.pt", weights_only=True))
    noises = [torch.load(face_tree / "noise" / f"{name}.pt", weights_only=True) for name in NAMES]
    return diffusers_ddim(net, torch.cat(noises), 5)


@pytest.fixture(scope="module")
def truth(by_diffusers: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a folder, as the course gives them."""
    folder = tmp_path_factory.mktemp("truth")
    for name, picture in zip(NAMES, by_diffusers.permute(0, 2, 3, 1).numpy(), strict=True):
        levels = np.round((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def drawn(desk: Folder, face_tree: Path, truth: Path) -> Path:
    """What sample_faces leaves. Do not change it."""
    ended = desk.run_here("sample_faces", settings(face_tree, "drawn", gt=truth))
    assert ended.code == 0
    assert "pass mark 20 for each: passed" in ended.out
    assert "mlflow ui --backend-store-uri sqlite:///" in ended.out.splitlines()[-1]
    return desk.path / "drawn"


def given_hash(desk: Folder, name: str) -> str:
    """MLflow's hash of the given pictures with which a folder was compared last."""
    ((found,),) = desk.query(
        "SELECT t.value FROM tags t JOIN runs r ON t.run_uuid = r.run_uuid "
        "WHERE r.name=? AND t.key='hash.gt'",
        name,
    )
    return str(found)


def assert_run(desk: Folder, out: Path, params: dict[str, str], files: set[str]) -> None:
    """MLflow has one finished run of `out`, with these params and files among others."""
    ((run, status, artifact_uri),) = desk.query(
        "SELECT run_uuid, status, artifact_uri FROM runs WHERE name=?", out.name
    )
    assert status == "FINISHED"
    found = dict(desk.query("SELECT key, value FROM params WHERE run_uuid=?", run))
    assert {key: found[key] for key in params} == params
    tags = dict(desk.query("SELECT key, value FROM tags WHERE run_uuid=?", run))
    assert [len(tags[f"hash.{name}"]) for name in ("model", "noise")] == [64, 64]
    assert tags["precision.auto"] in ("bf16", "fp32")
    artifacts = Path(artifact_uri.removeprefix("file://"))
    for name in files | {"config.yaml", "metrics.json"}:
        assert (artifacts / name).read_bytes() == (out / name).read_bytes()


def test_faces_in_the_courses_names_equal_those_of_diffusers(
    desk: Folder, drawn: Path, truth: Path
) -> None:
    assert list(pictures(drawn)) == [f"{name}.png" for name in NAMES]
    assert len(set(pictures(drawn).values())) == 5
    metrics = metrics_of(drawn)
    for name in NAMES:
        error = rms(drawn / f"{name}.png", truth / f"{name}.png") ** 2
        assert error < 1
        assert metrics["mse_by_picture"][name] == pytest.approx(error)
    assert metrics["pictures"] == 5
    assert metrics["mse"]["low"] <= metrics["mse"]["value"] <= metrics["mse"]["high"]
    assert metrics["passed"] is True
    params = {"num_inference_steps": "5", "eta": "0.0", "timestep_spacing": "leading"}
    assert_run(desk, drawn, params, {"figures/faces.png", "tables/mse.csv"})


def test_the_same_again_and_after_an_interruption(
    desk: Folder, drawn: Path, face_tree: Path, truth: Path, tmp_path: Path
) -> None:
    out = desk.path / "again"
    shutil.copytree(drawn, out, ignore=shutil.ignore_patterns("mlflow_run.json", "journal*"))
    want = pictures(out)
    before = {name: (out / name).stat().st_mtime_ns for name in want}
    same = settings(face_tree, out)
    assert desk.run_here("sample_faces", same | {"gt": truth}).code == 0
    assert {name: (out / name).stat().st_mtime_ns for name in want} == before

    (out / "01.png").unlink()
    (out / "04.png").unlink()
    # Errors are taken anew each time: other given pictures need no other folder.
    (tmp_path / "GT").mkdir()
    shutil.copy(truth / "01.png", tmp_path / "GT" / "00.png")
    shutil.copy(truth / "02.png", tmp_path / "GT" / "02.png")
    ended = desk.run_here("sample_faces", same | {"gt": tmp_path / "GT"})
    assert ended.code == 0
    assert pictures(out) == want
    assert (out / "02.png").stat().st_mtime_ns == before["02.png"]
    metrics = metrics_of(out)
    assert metrics["mse_by_picture"].keys() == {"00", "02"}
    assert metrics["mse_by_picture"]["02"] < 1 < 20 < metrics["mse_by_picture"]["00"]
    assert metrics["passed"] is False
    hashes = {name: given_hash(desk, name) for name in ("drawn", "again")}
    assert len(set(hashes.values())) == 2 and {len(found) for found in hashes.values()} == {64}
    assert "pass mark 20 for each: NOT passed" in ended.out

    (out / "03.png").write_bytes(want["03.png"][:100])
    told = desk.run_here("sample_faces", same).refusal()
    assert told.startswith(f"{out}/03.png: broken picture (")
    assert told.endswith("delete it, and it is drawn again")


def test_minmax_is_what_save_image_does(
    desk: Folder, drawn: Path, face_tree: Path, by_diffusers: Tensor, tmp_path: Path
) -> None:
    more = settings(face_tree, "minmax", pixel_range="minmax", gt=drawn)
    assert desk.run_here("sample_faces", more).code == 0
    for name, picture in zip(NAMES, by_diffusers, strict=True):
        save_image(picture, tmp_path / "theirs.png", normalize=True)
        ours = pixels(desk.path / "minmax" / f"{name}.png")
        assert_close(ours, pixels(tmp_path / "theirs.png"), rtol=0, atol=1)
    assert metrics_of(desk.path / "minmax")["mse"]["value"] > 20  # of the fixed range


def test_eta_sheet(desk: Folder, drawn: Path, face_tree: Path) -> None:
    out = desk.path / "etas"
    more = settings(face_tree, out, noises="03,00,02")
    ended = desk.run_here("eta_sheet", more)
    assert ended.code == 0
    found, still = pictures(out), pictures(drawn)
    assert found.keys() == {f"{name}_eta_{eta}.png" for name in ("00", "02", "03") for eta in ETAS}
    # Of another order, and of another chunk: the same bytes.
    assert all(found[f"{name}_eta_0.png"] == still[f"{name}.png"] for name in ("00", "02", "03"))
    apart = metrics_of(out)["distance_from_first_eta"]
    values = [apart[eta]["value"] for eta in ETAS]
    assert values[0] == 0 and values == sorted(values) and len(set(values)) == 5
    by_hand = [rms(out / f"{n}_eta_1.png", out / f"{n}_eta_0.png") for n in ("00", "02", "03")]
    assert values[4] == pytest.approx(np.mean(by_hand))
    with Image.open(out / "figures" / "eta_sheet.png") as sheet:
        assert sheet.width > 5 * 96 and sheet.height > 3 * 96
    assert_run(desk, out, {"etas": "[0.0, 0.25, 0.5, 0.75, 1.0]"}, {"figures/eta_sheet.png"})

    # Fresh noise belongs to the noise, whatever is drawn beside it and in whichever job.
    assert desk.run_here("sample_faces", settings(face_tree, "half", eta=0.5)).code == 0
    half = pictures(desk.path / "half")
    assert all(found[f"{name}_eta_0.5.png"] == half[f"{name}.png"] for name in ("00", "02", "03"))
    few = settings(face_tree, "seed", noises="03", etas="0,0.5", seed=1)
    assert desk.run_here("eta_sheet", few).code == 0
    other = pictures(desk.path / "seed")
    assert other["03_eta_0.png"] == found["03_eta_0.png"]
    assert other["03_eta_0.5.png"] != found["03_eta_0.5.png"]


def test_interpolate_faces(desk: Folder, drawn: Path, face_tree: Path) -> None:
    out = desk.path / "between"
    ended = desk.run_here("interpolate_faces", settings(face_tree, out))
    assert ended.code == 0
    found, ends = pictures(out), pictures(drawn)
    ways = ("slerp", "lerp")
    assert found.keys() == {f"{way}_{index:02d}.png" for way in ways for index in range(11)}
    for way in ways:
        assert found[f"{way}_00.png"] == ends["00.png"]
        assert found[f"{way}_10.png"] == ends["01.png"]
    assert found["slerp_05.png"] != found["lerp_05.png"]

    first, second = (
        torch.load(face_tree / "noise" / f"{name}.pt", weights_only=True).double()
        for name in NAMES[:2]
    )
    metrics = metrics_of(out)
    at_the_ends = float(first.norm() + second.norm()) / 2
    for way in ways:
        assert metrics[way]["norm_at_the_ends"] == pytest.approx(at_the_ends)
        jumps = [
            rms(out / f"{way}_{index:02d}.png", out / f"{way}_{index + 1:02d}.png")
            for index in range(10)
        ]
        assert metrics[way]["length_of_the_path"] == pytest.approx(sum(jumps), rel=1e-5)
        assert metrics[way]["largest_step"] == pytest.approx(max(jumps), rel=1e-5)
        assert f"{metrics[way]['norm_at_the_middle']}"[:4] in ended.out
    middle = float((first + second).norm() / 2)
    assert metrics["lerp"]["norm_at_the_middle"] == pytest.approx(middle, rel=1e-5)
    assert middle / at_the_ends == pytest.approx(0.5**0.5, abs=0.02)
    assert metrics["slerp"]["norm_at_the_middle"] / at_the_ends == pytest.approx(1, abs=0.001)
    figures = {"figures/interpolation.png", "figures/smoothness.png"}
    assert_run(desk, out, {"first": "00", "second": "01", "num_alphas": "11"}, figures)


Spoil = Callable[[Path], object]


def given(*sides: int) -> Spoil:
    """A folder GT with one picture."""

    def make(face: Path) -> None:
        (face / "GT").mkdir()
        Image.new("RGB", sides).save(face / "GT" / "03.png")

    return make


BAD_FILES: dict[str, tuple[Spoil, str]] = {
    "noise with code": (
        lambda face: torch.save(Trap(face / "ran"), face / "noise" / "02.pt"),
        "FACE/noise/02.pt: it holds posix.system, want nothing but tensors",
    ),
    "no noises": (
        lambda face: shutil.rmtree(face / "noise"),
        "FACE/noise: no such folder of noises: point --noise at one with 00.pt, 01.pt, ..",
    ),
    "weights with code": (
        lambda face: torch.save({"x": Trap(face / "ran")}, face / "UNet.pt"),
        "FACE/UNet.pt: it holds posix.system, want nothing but tensors",
    ),
    "given pictures of another size": (given(64, 32), "FACE/GT/03.png is 64x32, its noise 32x32"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_before_anything_is_made(
    kind: str, folder: Folder, face_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    face = tmp_path_factory.mktemp("bad") / "face"
    shutil.copytree(face_tree, face)
    spoil, said = BAD_FILES[kind]
    spoil(face)
    told = folder.run_here("sample_faces", settings(face, "out")).refusal()
    assert told.startswith(said.replace("FACE", str(face)))
    assert not (face / "ran").exists()
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("job", "change", "said"),
    [
        (
            "sample_faces",
            {"num_inference_steps": 300},
            "num_inference_steps=300 does not divide num_train_timesteps=1000: use 250 or 500",
        ),
        ("sample_faces", {"model": "asset:nosuch"}, "model=asset:nosuch: no such asset; there is "),
        ("sample_faces", {"gt": "nosuch"}, "gt=nosuch: no such folder; leave it out to compare"),
        ("sample_faces", {"gt": "."}, "gt=.: holds none of 00.png, 01.png, 02.png, ..; leave it "),
        ("sample_faces", {"eta": 1.5}, "eta=1.5 on the command line: want "),
        ("sample_faces", {"etta": 1}, "unknown key etta on the command line: did you mean eta?"),
        ("eta_sheet", {"noises": "00,07"}, "noise 07: there is no such; there is 00, 01, 02, 03,"),
        ("eta_sheet", {"etas": "0,0.5,0.5000001"}, "etas=[0, 0.5, 0.5000001] on the command"),
        ("eta_sheet", {"eta": 1}, "unknown key eta on the command line: did you mean etas?"),
        ("eta_sheet", {"steps_offset": 200}, "steps_offset=200: the first of 5 timesteps would be"),
        ("interpolate_faces", {"second": "11"}, "noise 11: there is no such; there is 00, 01,"),
        ("interpolate_faces", {"num_alphas": 1}, "num_alphas=1 on the command line: want "),
        ("interpolate_faces", {"num_alphas": 10}, "num_alphas=10 on the command line: want an odd"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_refused_before_anything_is_made(
    job: str, change: dict[str, object], said: str, folder: Folder, face_tree: Path
) -> None:
    ended = folder.run_here(job, settings(face_tree, "out", **change))
    assert ended.refusal().startswith(said)
    assert list(folder.path.iterdir()) == []


def test_opposite_noises_have_no_way_between(
    folder: Folder, face_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    face = tmp_path_factory.mktemp("opposite") / "face"
    shutil.copytree(face_tree, face)
    torch.save(-torch.load(face / "noise" / "00.pt", weights_only=True), face / "noise" / "01.pt")
    told = folder.run_here("interpolate_faces", settings(face, "out")).refusal()
    assert told.startswith("slerp: the noises are opposite (180 degrees apart)")
    assert list(folder.path.iterdir()) == []


def test_a_training_names_the_files_that_it_passes_over(folder: Folder) -> None:
    real = folder.path / "tree/face/real"
    real.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(real / f"{number}.png")
    (real / "IMG_1.HEIC").touch()
    small = {"scaling.num_workers": 0, "train.num_steps": 1, "train.batch_size": 2}
    small |= {"network.channels": "64,64,64,64,64,64", "num_inference_steps": 1}
    ended = folder.run_here("train_faces", small | {"data.root": "tree", "out": "out"})
    assert ended.code == 0, ended.err
    assert "4 faces of tree/face/real; passed over: IMG_1.HEIC (want .bmp, " in ended.err
