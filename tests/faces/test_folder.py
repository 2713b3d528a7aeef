"""A folder of faces: what is left to draw, and whose bytes agree."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ray import cloudpickle

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import CheckpointError, DataError
from hw2.faces.drawing import draw_faces
from hw2.faces.folder import (
    Wanted,
    draw_wanted,
    make_worker,
    pieces_to_draw,
    read_drawn,
    write_pieces,
)
from hw2.faces.loading import FaceModel
from hw2.models.course_unet import to_course
from hw2.models.face_unet import build_face_unet
from hw2.settings.faces import SampleFacesConfig
from tests.faces.untrained import lively_face_unet
from tests.jobs.command import ROOT

START = CounterRandom(3, 0, range(5)).normal(Stream.START, 3, 32, 32)


def wanted(etas: tuple[float, ...] = (0.0,), rows: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list:
    return [Wanted(f"{row}_{eta:g}", START[row], eta, row) for eta in etas for row in rows]


def rows_of(pieces: list[dict[str, Any]]) -> list[list[int]]:
    return [piece["rows"] for piece in pieces]


def test_chunks_are_of_one_eta() -> None:
    pieces, done = pieces_to_draw(wanted((0.0, 1.0)), 2, Path("none"))
    assert rows_of(pieces) == [[0, 1], [2, 3], [4], [5, 6], [7, 8], [9]]
    assert done == 0
    assert rows_of(pieces_to_draw(wanted((0.0, 1.0)), 7, Path("none"))[0]) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
    ]


def test_a_chunk_that_is_not_wholly_there_is_drawn_in_full(tmp_path: Path) -> None:
    for name in ("0_0", "2_0", "3_0", "4_0"):
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "1_0.png").mkdir()
    pieces, done = pieces_to_draw(wanted(), 2, tmp_path)
    assert rows_of(pieces) == [[0, 1]]
    assert done == 3
    assert pieces_to_draw(wanted(rows=(2, 3, 4)), 2, tmp_path) == ([], 3)


def test_a_chunk_larger_than_all_that_is_wanted_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []

    def unused(on_gpu: bool) -> Any:
        raise AssertionError("there is nothing to draw")

    for size in (5, 6):  # five is usual
        config = SampleFacesConfig(out=tmp_path, noises_per_chunk=size)
        draw_wanted(config, unused, wanted(rows=(2, 3)), tmp_path, lambda *_: iter(()))
        err = capsys.readouterr().err
        found.append([line for line in err.splitlines() if line.startswith("warning")])
    assert found == [[], ["warning: noises_per_chunk=6: 6 are drawn for 2 pictures"]]


def test_a_noise_has_the_same_bytes_in_every_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set()

    def counted(model: FaceModel, start: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        sizes.add(len(start))
        return draw_faces(model, start, *rest, **more)

    monkeypatch.setattr("hw2.faces.folder.draw_faces", counted)
    net = build_face_unet((64,) * 6, seed=0)  # untrained, it lets the last bits grow
    torch.save(to_course(net), tmp_path / "UNet.pt")
    config = SampleFacesConfig(out=tmp_path, num_inference_steps=5, noises_per_chunk=3)

    def pictures(*rows: int) -> dict[str, bytes]:
        some = wanted((0.0,), rows)
        work = make_worker(config, tmp_path / "UNet.pt", some)(False)
        pieces, _ = pieces_to_draw(some, config.noises_per_chunk, tmp_path / "none")
        found = {}
        for piece in reversed(pieces):
            result = work(piece)
            assert result["images"].shape == (len(piece["rows"]), 3, 32, 32)
            assert result["images"].dtype == np.uint8
            names = [some[i].name for i in piece["rows"]]
            found |= dict(zip(names, map(np.ndarray.tobytes, result["images"]), strict=True))
        return found

    whole, part, alone = pictures(0, 1, 2, 3, 4), pictures(4, 2, 0, 1), pictures(3)
    assert len(set(whole.values())) == 5
    assert {name: whole[name] for name in part | alone} == part | alone
    assert sizes == {3}  # the size of a batch may move the last bits


def test_a_model_that_was_replaced_draws_nothing(tmp_path: Path) -> None:
    """What it drew stood under the hash of the former."""
    weights = tmp_path / "UNet.pt"
    torch.save(to_course(lively_face_unet()), weights)
    was = weights.read_bytes()
    make = make_worker(SampleFacesConfig(out=tmp_path), weights, wanted())
    torch.save(to_course(build_face_unet((32,) * 6, seed=1)), weights)
    with pytest.raises(CheckpointError, match=r"UNet.pt: was replaced while the job ran: put back"):
        make(False)
    weights.write_bytes(was)
    make(False)


def draw_as_an_actor(folder: Path) -> None:
    """Draw the same by the worker and by what of it travels to an actor."""
    torch.save(to_course(lively_face_unet()), folder / "UNet.pt")
    config = SampleFacesConfig(out=folder, num_inference_steps=2, noises_per_chunk=2)
    here = make_worker(config, folder / "UNet.pt", wanted())
    there = pickle.loads(cloudpickle.dumps(here))
    pieces, _ = pieces_to_draw(wanted(), config.noises_per_chunk, folder / "none")
    for piece in pieces:
        one, other = (make(False)(pickle.loads(pickle.dumps(piece))) for make in (here, there))
        assert other["rows"] == piece["rows"]
        assert pickle.dumps(one) == pickle.dumps(other)


def test_what_travels_to_an_actor_draws_the_same(tmp_path: Path) -> None:
    """In a process without the checks of types, which cannot travel.

    How actors are asked: tests/jobs/test_sample_digits.py.
    """
    told = f"from pathlib import Path; draw_as_an_actor(Path({str(tmp_path)!r}))"
    program = f"from tests.faces.test_folder import draw_as_an_actor; {told}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 64), dtype=np.uint8)
    results = [{"rows": [2], "images": images[2:]}, {"rows": [0, 1], "images": images[:2]}]
    some, out = wanted(), tmp_path / "out"
    assert list(write_pieces(results, some, out)) == [1, 2]
    assert sorted(path.name for path in out.iterdir()) == ["0_0.png", "1_0.png", "2_0.png"]
    read = read_drawn(["1_0", "2_0", "0_0"], out)
    assert torch.equal(read, torch.from_numpy(images[[1, 2, 0]]))
    with Image.open(out / "0_0.png") as picture:
        assert (picture.size, picture.mode) == ((64, 32), "RGB")


def test_a_spoilt_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as error:
        read_drawn(["0"], tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/0.png: not a picture")
    assert message.endswith("delete it, and it is drawn again")
