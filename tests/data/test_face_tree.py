import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from hw2.data import face_tree
from hw2.data.face_tree import describe_faces, write_faces
from hw2.data.faces import read_pictures, real_folder
from hw2.errors import CheckpointError, ConfigError, DataError
from hw2.models.course_unet import from_course
from hw2.settings.data import PrepareDataConfig
from hw2.weights import save_weights
from jobs.prepare_data import main
from tests.faces.reference import diffusers_ddim
from tests.faces.untrained import lively_face_unet
from tests.hashes import files

SIZES = {"num_faces": 12, "num_noises": 2}
# The last level works on one pixel, where torch refuses groups of one channel for a single noise.
CHANNELS = (32, 32, 32, 32, 64, 64)


def make_weights(path: Path, seed: int) -> Path:
    """An untrained network."""
    save_weights(
        path,
        {"ema": lively_face_unet(CHANNELS, seed)},
        {"kind": "face_ddpm", "network": {"channels": CHANNELS}},
    )
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "final.safetensors", 0)


@pytest.fixture(scope="session")
def made(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 12 faces and 2 noises, seed 5. Do not change it."""
    root = tmp_path_factory.mktemp("faces")
    write_faces(root, 5, **SIZES, weights=weights)
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "face", tmp_path / "face")
    return tmp_path


def test_the_tree_has_the_courses_layout(made: Path) -> None:
    face = made / "face"
    noises = [torch.load(face / f"noise/0{i}.pt", weights_only=True) for i in range(2)]
    assert {(noise.dtype, noise.shape) for noise in noises} == {
        (torch.float32, torch.Size([1, 3, 32, 32]))
    }
    assert abs(float(torch.cat(noises).mean())) < 0.05
    assert abs(float(torch.cat(noises).std()) - 1) < 0.05
    with Image.open(face / "GT/01.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (32, 32))
    state = torch.load(face / "UNet.pt", weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert read_pictures(real_folder(made)).images.shape == (12, 3, 32, 32)
    assert sorted(path.name for path in face.iterdir()) == [
        *("GT", "UNet.pt", "made_from.json", "noise", "offline.json", "real")
    ]
    assert describe_faces(made).endswith("12 real faces, 2 noises, UNet.pt, 2 GT pictures")


def test_faces_that_are_not_there_are_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"face/real: no such folder .*jobs\.prepare_data"):
        read_pictures(real_folder(tmp_path))


def test_bad_faces_are_refused_or_left_out_and_listed(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:2000])
    way_out = r"b\.png: broken picture .* \(--data\.skip_bad true leaves such out\)$"
    with pytest.raises(DataError, match=way_out):
        read_pictures(tmp_path, skip_bad=False)
    with pytest.raises(DataError, match=r"b\.png: broken picture \([^-]*$"):
        read_pictures(tmp_path)
    found = read_pictures(tmp_path, skip_bad=True)
    assert len(found.images) == 1
    assert [(row.file, row.line) for row in found.bad] == [(str(tmp_path / "b.png"), 0)]
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"none of 1 pictures is usable, the first .*b\.png \("):
        read_pictures(tmp_path, skip_bad=True)


def test_hidden_files_are_no_faces(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"what macOS keeps of a file, in a zip")
    assert len(read_pictures(tmp_path).images) == 1


def test_gt_is_what_diffusers_draws_from_the_files(made: Path) -> None:
    face = made / "face"
    net = from_course(torch.load(face / "UNet.pt", weights_only=True))
    noises = [torch.load(face / f"noise/0{i}.pt", weights_only=True) for i in range(2)]
    gt = read_pictures(face / "GT").images.float()
    assert ((gt > 5) & (gt < 250)).float().mean() > 0.5  # not black and white, where all agree
    # half a level for GT's rounding, as much for float32 after 50 steps
    theirs = ((diffusers_ddim(net, torch.cat(noises), 50) + 1) * 127.5).clamp(0, 255)
    torch.testing.assert_close(gt, theirs, rtol=0, atol=1.0)


def test_another_seed_makes_other_noises_and_faces(made: Path, tmp_path: Path) -> None:
    write_faces(tmp_path, 6, **SIZES, weights=tmp_path / "none")
    other = {sha for name, sha in files(tmp_path / "face").items() if "json" not in name}
    assert len(other) == 14
    assert not other & set(files(made / "face").values())


def test_a_second_call_writes_nothing(copied: Path, weights: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    write_faces(copied, 5, **SIZES, weights=weights)
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_lost_files_come_back_the_same(copied: Path, made: Path, weights: Path) -> None:
    for lost in ("real/0003.png", "noise/01.pt", "UNet.pt"):
        (copied / "face" / lost).unlink()
    write_faces(copied, 5, **SIZES, weights=weights)
    assert files(copied) == files(made)


def test_a_killed_run_is_continued(made: Path, weights: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from hw2.data.face_tree import write_faces\n"
        f"write_faces(Path({str(tmp_path)!r}), 5, 12, 2, weights=Path({str(weights)!r}))"
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([sys.executable, "-c", code], **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (tmp_path / "face/UNet.pt").is_file():
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    killed = files(tmp_path)
    assert "face/GT/00.png" not in killed
    assert killed.items() <= files(made).items()  # each file whole
    # as if killed a moment later, between two pictures that are drawn together
    (tmp_path / "face/GT").mkdir(exist_ok=True)
    shutil.copy(made / "face/GT/00.png", tmp_path / "face/GT")
    write_faces(tmp_path, 5, **SIZES, weights=weights)
    assert files(tmp_path) == files(made)


def test_a_run_killed_before_its_recipe_is_continued(tmp_path: Path) -> None:
    (tmp_path / "face").mkdir()
    (tmp_path / "face/.offline.json.0123456789ab.tmp").write_text('{"rec')
    write_faces(tmp_path, 5, **SIZES, weights=tmp_path / "none")
    assert (tmp_path / "face/noise/01.pt").is_file()


def test_other_weights_draw_gt_anew(copied: Path, made: Path, tmp_path: Path) -> None:
    other = make_weights(tmp_path / "other.safetensors", 1)
    (copied / "face/GT/00.png").unlink()  # as if killed while the old ones were being removed
    write_faces(copied, 5, **SIZES, weights=other)
    before, after = files(made / "face"), files(copied / "face")
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"made_from.json", "UNet.pt", "GT/00.png", "GT/01.png"}
    record = json.loads((copied / "face/made_from.json").read_text())
    assert record == {"weights_sha256": hashlib.sha256(other.read_bytes()).hexdigest()}


@pytest.mark.parametrize("record", [None, '{"wei', "[" * 10**5, "a pipe"])
def test_drawings_without_a_record_are_drawn_anew(
    record: str | None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_tree, "RELEASED", weights)
    write_faces(tmp_path, 5, 1, num_noises=0)  # nothing to draw
    whole = files(tmp_path)
    face = tmp_path / "face"
    (face / "UNet.pt").write_bytes(b"another's")
    (face / "GT/00.png").write_bytes(b"another's")
    if record in (None, "a pipe"):
        (face / "made_from.json").unlink()
    if record == "a pipe":
        os.mkfifo(face / "made_from.json")
    elif record is not None:
        (face / "made_from.json").write_text(record)
    write_faces(tmp_path, 5, 1, num_noises=0)
    assert files(tmp_path) == whole
    assert (face / "UNet.pt").stat().st_size > 1_000_000


def test_without_weights_there_are_faces_and_noises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "assets/final.safetensors"
    write_faces(tmp_path, 5, **SIZES, weights=missing)
    assert f"no weights at {missing}" in capsys.readouterr().out
    names = {name.split("/")[1] for name in files(tmp_path)}
    assert names == {"real", "noise", "offline.json"}
    assert describe_faces(tmp_path).endswith("12 real faces, 2 noises, no UNet.pt, 0 GT pictures")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    save_weights(path, {"ema": torch.nn.Linear(1, 1)}, {"kind": "judge"})
    with pytest.raises(CheckpointError, match=r"kind 'judge'.*jobs.train_faces"):
        write_faces(tmp_path, 5, **SIZES, weights=path)


def test_the_job_makes_all_of_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(face_tree, "RELEASED", tmp_path / "none")  # drawing takes seconds
    small = {"num_train": 10, "num_val": 10, "num_faces": 10, "num_noises": 2}
    small |= {"num_clip_train": 10, "num_clip_val": 1, "num_text2image": 10}
    main(PrepareDataConfig(out=tmp_path, **small))
    assert (tmp_path / "digits/svhn/val.csv").is_file()
    assert len(list((tmp_path / "clip_zeroshot/val").iterdir())) == 50
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{tmp_path}/face: 10 real faces, 2 noises, no UNet.pt, 0 GT pictures"
    shutil.rmtree(tmp_path / "digits")
    with pytest.raises(ConfigError, match="num_faces: 10 there, 11 here"):
        main(PrepareDataConfig(out=tmp_path, **(small | {"num_faces": 11})))
    assert not (tmp_path / "digits").exists()  # refused before the digits are made
