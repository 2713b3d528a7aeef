"""Face models from the three kinds of files, and what is refused in each."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from hw2 import locate
from hw2.errors import CheckpointError
from hw2.faces import loading
from hw2.faces.loading import load_face_model, weights_file
from hw2.models.course_unet import to_course
from hw2.models.face_unet import build_face_unet
from hw2.weights import save_weights

CHANNELS = (32, 32, 32, 32, 64, 32)
NET = build_face_unet(CHANNELS, 0).eval()
XT = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
T = torch.tensor([981, 1])
WEIGHTS = "diffusion_pytorch_model.safetensors"


@torch.no_grad()
def drawn(unet: Path | str) -> Tensor:
    return load_face_model(weights_file(str(unet))).net(XT, T)


@torch.no_grad()
def expected() -> Tensor:
    return NET(XT, T)


def saved_by_us(path: Path, **meta: Any) -> Path:
    other = build_face_unet(CHANNELS, 1)
    network = {"channels": list(CHANNELS)}
    save_weights(path, {"net": other, "ema": NET}, {"kind": "face_ddpm", "network": network} | meta)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The network as diffusers saves it."""
    NET.unet.save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PT"])
@pytest.mark.parametrize("wrapped", ["", "state_dict", "model_state_dict", "model"])
def test_the_courses_file(tmp_path: Path, suffix: str, wrapped: str) -> None:
    path, state = tmp_path / f"UNet{suffix}", to_course(NET)
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, path)
    assert weights_file(str(path)) == path
    assert_close(drawn(path), expected())


@pytest.mark.parametrize(
    "before", ["module.", "_orig_mod.", "module._orig_mod.", "model._orig_mod."]
)
def test_the_file_of_a_network_that_was_trained_on_several_gpus_or_compiled(
    tmp_path: Path, before: str
) -> None:
    path = tmp_path / "UNet.pt"
    torch.save({before + name: value for name, value in to_course(NET).items()}, path)
    assert_close(drawn(path), expected())


def test_a_diffusers_folder(folder: Path) -> None:
    before = torch.get_rng_state()
    assert weights_file(str(folder)) == folder / WEIGHTS
    assert_close(drawn(folder), expected())
    assert_close(drawn(folder / WEIGHTS), expected())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_diffusers_folder_of_half_weights_and_of_another_layout(tmp_path: Path) -> None:
    unet = UNet2DModel(
        block_out_channels=(32, 32),
        down_block_types=["DownBlock2D"] * 2,
        up_block_types=["UpBlock2D"] * 2,
        layers_per_block=1,
    )
    with torch.no_grad():
        alone = unet.half().float()(XT, T).sample
    unet.half().save_pretrained(tmp_path)
    assert_close(drawn(tmp_path), alone)


def test_our_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved_by_us(tmp_path / locate.FINAL)
    monkeypatch.setattr(locate, "ASSETS", tmp_path / "assets")
    (tmp_path / "assets" / "faces").mkdir(parents=True)
    asset = saved_by_us(tmp_path / "assets" / "faces" / locate.FINAL)
    for unet, file in ((path, path), (tmp_path, path), ("asset:faces", asset)):
        assert weights_file(str(unet)) == file
        assert_close(drawn(unet), expected())


def test_the_path_and_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_by_us(tmp_path / "faces.safetensors")
    monkeypatch.chdir(tmp_path)
    assert weights_file("faces.safetensors").is_absolute()
    model = load_face_model(weights_file("faces.safetensors"))
    assert not model.net.training and model.device.type == "cpu"
    moved = model.to(torch.device("meta"))
    assert moved.device.type == next(moved.net.parameters()).device.type == "meta"


def refusal(unet: Path | str) -> str:
    with pytest.raises(CheckpointError) as error:
        load_face_model(weights_file(str(unet)))
    message = str(error.value)
    assert "\n" not in message and len(message) < 900
    return message


def changed(**values: Any) -> dict[str, Any]:
    return to_course(NET) | values


BAD_STATES: dict[str, tuple[Callable[[], Any], str]] = {
    "a list": (lambda: [torch.zeros(3)], "it holds list, want a dict of names to tensors"),
    "a tensor": (lambda: torch.zeros(3), "it holds Tensor, want a dict of names to tensors"),
    "other values": (lambda: changed(epoch=3), "its entry 'epoch' is int, want names to tensors"),
    "other names": (lambda: {1: torch.zeros(3)}, "its entry '1' is Tensor, want names to"),
    "empty": (dict, "not the course's face network: missing down2.resblocks.conv1.weight;"),
    "integers": (
        lambda: changed(down1=torch.zeros(3, dtype=torch.int64)),
        "its weight 'down1' is int64, want floating-point numbers",
    ),
    "without data": (
        lambda: changed(down1=torch.zeros(3, device="meta")),
        "it holds a tensor of kind meta: save a plain one",
    ),
    "repeated": (
        lambda: changed(down1=torch.zeros(1).expand(2**30)),
        "MiB is over the allowed 2048 MiB",
    ),
}


@pytest.mark.parametrize("kind", BAD_STATES)
def test_refused_states(tmp_path: Path, kind: str) -> None:
    make, message = BAD_STATES[kind]
    torch.save(make(), tmp_path / "UNet.pt")
    said = refusal(tmp_path / "UNet.pt")
    assert said.startswith(f"{tmp_path / 'UNet.pt'}: ") and message in said


def test_missing_keys_are_named_up_to_five(tmp_path: Path) -> None:
    path, state = tmp_path / "UNet.pt", to_course(NET)
    gone = [name for name in state if name.startswith("up") and name.endswith("norm1.weight")]
    torch.save({name: value for name, value in state.items() if name not in gone}, path)
    listed = "; ".join(f"missing up{i}.resblocks.norm1.weight" for i in (1, 2, 3, 5, 6))
    assert refusal(path) == f"{path}: 18 keys do not fit: {listed}"


def test_a_whole_network_pickled(tmp_path: Path) -> None:
    torch.save(NET, tmp_path / "UNet.pt")
    assert "it holds hw2.models.face_unet.FaceUNet, want nothing" in refusal(tmp_path / "UNet.pt")


def test_files_that_are_no_state(tmp_path: Path) -> None:
    path = tmp_path / "UNet.pt"
    message = refusal(path)
    assert message.startswith(f"model={path}: no such file; give the course's UNet.pt, a diffusers")
    path.write_text("version https://git-lfs.example/spec")
    assert "not a torch file, or a torn one" in refusal(path)
    with path.open("wb") as file:
        file.truncate(2**31 + 2**20)
    assert refusal(path) == f"{path}: 2049 MiB is over the allowed 2048 MiB"


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    for model in (tmp_path, tmp_path / "none", "asset:none"):
        assert refusal(model).startswith(f"model={model}: ")


def test_files_of_others_weights(tmp_path: Path) -> None:
    path = tmp_path / locate.FINAL
    saved_by_us(path, kind="digit_ddpm")
    assert refusal(path) == f"{path}: holds no face model; train one with jobs.train_faces"
    saved_by_us(path, network={"channels": [64] * 6})
    assert "weights do not fit: " in refusal(path)
    save_file(to_course(NET), path)
    assert "has no hw2 metadata" in refusal(path)


def reconfigured(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def without_weights(folder: Path) -> None:
    torch.save({}, folder / "diffusion_pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def torn(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-10])


def with_weights(folder: Path, drop: str | None, **extra: Tensor) -> None:
    weights = load_file(folder / WEIGHTS) | extra
    if drop:
        del weights[drop]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


BAD_FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no safetensors": (without_weights, f"has no {WEIGHTS}; save the network with save_pretrained"),
    "several files": (
        lambda folder: (folder / f"{WEIGHTS}.index.json").write_text("{}") and None,
        "its weights are in several files; want one",
    ),
    "torn": (torn, "not a readable UNet2DModel ("),
    "broken config": (
        lambda folder: (folder / "config.json").write_text("{") and None,
        "not a readable UNet2DModel (",
    ),
    "another class": (
        lambda folder: reconfigured(folder, _class_name="UNet2DConditionModel"),
        "is a UNet2DConditionModel, want a UNet2DModel",
    ),
    "quantized": (
        lambda folder: reconfigured(folder, quantization_config={"quant_method": "torchao"}),
        "its weights are quantized; want plain ones",
    ),
    "another size": (
        lambda folder: reconfigured(folder, block_out_channels=[64] * 6),
        "not a readable UNet2DModel (",
    ),
    "a weight missing": (
        lambda folder: with_weights(folder, "conv_in.bias"),
        "1 weights do not fit: missing conv_in.bias",
    ),
    "a weight too many": (
        lambda folder: with_weights(folder, None, extra=torch.zeros(3)),
        "1 weights do not fit: unknown extra",
    ),
    "a weight that is no number": (
        lambda folder: with_weights(
            folder, None, **{"conv_out.bias": torch.tensor([0, torch.nan, 0])}
        ),
        f"{WEIGHTS}: conv_out.bias holds nan or infinite numbers",
    ),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_refused_folders(folder: Path, kind: str) -> None:
    spoil, message = BAD_FOLDERS[kind]
    spoil(folder)
    said = refusal(folder)
    assert str(folder) in said and message in said


@pytest.mark.parametrize("place", [".", "scheduler", "../scheduler"])
@pytest.mark.parametrize(
    ("process", "message"),
    [
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule=squaredcos_cap_v2: faces are"),
        ({"beta_start": 0.00085}, "beta_start=0.00085: faces are drawn with 0.0001 alone"),
        ({"beta_end": 0.012}, "beta_end=0.012: faces are drawn with 0.02 alone"),
        ({"num_train_timesteps": 4000}, "num_train_timesteps=4000: faces are drawn with 1000"),
        ({"prediction_type": "v_prediction"}, "prediction_type=v_prediction: faces are"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr=True: faces are drawn with"),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler names no beta_schedule: faces"),
    ],
)
def test_another_process_beside_the_network(
    folder: Path, place: str, process: dict[str, Any], message: str
) -> None:
    DDPMScheduler().save_pretrained(folder / place)
    assert_close(drawn(folder), expected())
    path = Path(os.path.normpath(folder / place / "scheduler_config.json"))
    path.write_text(json.dumps(process))  # what is not said is diffusers' default, and ours
    assert refusal(folder).startswith(f"{path}: {message}")
    path.write_text("[]")
    assert refusal(folder).startswith(f"{path}: not a readable scheduler")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": 4}, "from 4 to 3 channels; want 3 to 3"),
        ({"out_channels": 6}, "from 3 to 6 channels; want 3 to 3"),
        ({"num_class_embeds": 10}, "it is conditioned on a class; want an unconditional one"),
    ],
)
def test_refused_diffusers_networks(tmp_path: Path, settings: Any, message: str) -> None:
    small: Any = dict(block_out_channels=(32,), layers_per_block=1)
    small |= dict(down_block_types=["DownBlock2D"], up_block_types=["UpBlock2D"])
    UNet2DModel(**small, **settings).save_pretrained(tmp_path)
    assert refusal(tmp_path) == f"{tmp_path}: {message}"


def test_the_limit_is_known_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good file over the limit is refused, so that the limit is what refuses."""
    path = tmp_path / "UNet.pt"
    torch.save(to_course(NET), path)
    monkeypatch.setattr(loading, "MAX_BYTES", path.stat().st_size - 1)
    assert "is over the allowed" in refusal(path)
