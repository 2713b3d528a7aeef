"""What the jobs' tests share: a working folder, tiny settings, tiny weights, a tree of faces."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.models.course_unet import to_course
from hw2.models.digit_unet import build_digit_unet
from hw2.models.judge import build_judge
from hw2.settings.digits import DiffusionConfig, NetworkConfig
from hw2.weights import save_weights
from tests.faces.untrained import lively_face_unet
from tests.jobs.command import Folder


@pytest.fixture(scope="session", autouse=True)
def ray_folder() -> Iterator[None]:
    """Ray's logs in a folder that goes away; short, because sockets lie in it."""
    path = tempfile.mkdtemp(prefix="hw2-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", path)
        yield
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny digit model, untrained: what it draws matters to no test."""
    network = NetworkConfig(patch=4, channels=(64,), attention=(False,))
    net = build_digit_unet(network, seed=1)
    about = {"network": network.model_dump(), "diffusion": DiffusionConfig().model_dump()}
    path = tmp_path_factory.mktemp("model") / "final.safetensors"
    save_weights(path, {"ema": net}, {"kind": "digit_ddpm", **about, "seed": 1})
    return path


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained judge."""
    net = build_judge(seed=1)
    path = tmp_path_factory.mktemp("judge") / "final.safetensors"
    save_weights(path, {"ema": net}, {"kind": "judge", "seed": 1})
    return path


@pytest.fixture(scope="session")
def face_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `face` of a tree: UNet.pt and five noises of side 32. Do not change it."""
    face = tmp_path_factory.mktemp("faces") / "face"
    (face / "noise").mkdir(parents=True)
    starts = CounterRandom(5, 0, range(5)).normal(Stream.START, 3, 32, 32)
    for index, start in enumerate(starts):
        torch.save(start[None].clone(), face / "noise" / f"{index:02d}.pt")
    torch.save(to_course(lively_face_unet()), face / "UNet.pt")
    return face
