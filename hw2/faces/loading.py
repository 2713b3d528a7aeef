"""Loading a face model, whoever wrote it: the course, diffusers, or this project."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from hw2.claims import SHOWN, refuse_infinite, refuse_larger
from hw2.data.face_tree import read_face_unet
from hw2.data.files import no_file, read_json
from hw2.data.torch_files import load_torch, refuse_unusual, state_in, unwrapped
from hw2.disclosure import describe
from hw2.errors import CheckpointError, DataError
from hw2.locate import find_model
from hw2.models.course_unet import from_course
from hw2.models.face_unet import DiffusersUNet
from hw2.weights import read_meta

NUM_TRAIN_TIMESTEPS = 1000
MAX_BYTES = 2 * 2**30
COURSE_SUFFIXES = {".pt", ".pth"}
SCHEDULER = "scheduler_config.json"
# What diffusers' schedulers are by default, and faces are drawn by always.
PROCESS = {
    "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "prediction_type": "epsilon",
}
DIFFUSERS_CONFIG, DIFFUSERS_WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class FaceModel:
    """A network, called `net(xt, t) -> eps`, that was trained for PROCESS."""

    net: nn.Module
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def to(self, device: torch.device) -> "FaceModel":
        """The same model on `device`."""
        return dataclasses.replace(self, net=self.net.to(device), device=device)


def weights_file(model: str, key: str = "model") -> Path:
    """The file whose bytes are the weights that `model`, the setting `key`, means: absolute.

    A file, a diffusers folder (config.json and its safetensors), or what `find_model` knows. Raises
    CheckpointError if there is none.
    """
    path = Path(model).expanduser().absolute()  # workers run in folders of their own
    if path.suffix.lower() in COURSE_SUFFIXES:
        if not path.is_file():
            raise CheckpointError(
                f"{key}={model}: {no_file(path)}; give the course's UNet.pt, a diffusers folder, a "
                "run folder, run:ID or asset:faces"
            )
        return path
    if (path / DIFFUSERS_CONFIG).is_file():
        if not (path / DIFFUSERS_WEIGHTS).is_file():
            raise CheckpointError(
                f"{key}={model}: the folder has no {DIFFUSERS_WEIGHTS}; save the network with "
                "save_pretrained, in one file"
            )
        return path / DIFFUSERS_WEIGHTS
    return find_model(model, key)


def model_files(weights: Path) -> dict[str, Path]:
    """What decides the model of the file `weights`, by name: of a diffusers folder two files."""
    if weights.name == DIFFUSERS_WEIGHTS:
        return {"model": weights, "model_config": weights.parent / DIFFUSERS_CONFIG}
    return {"model": weights}


def load_face_model(path: Path) -> FaceModel:
    """The face model in `path`, as `weights_file` finds it, ready to draw from.

    Raises CheckpointError if it is torn, of another network, or unsafe to load.
    """
    if path.suffix.lower() in COURSE_SUFFIXES:
        return FaceModel(from_course(_course_state(path), str(path)))
    if path.name == DIFFUSERS_WEIGHTS:
        return FaceModel(_from_diffusers(path.parent))
    meta = read_meta(path)
    if meta.get("kind") != "face_ddpm":
        raise CheckpointError(f"{path}: holds no face model; train one with jobs.train_faces")
    return FaceModel(read_face_unet(path, meta))


def _course_state(path: Path) -> dict[str, Tensor]:
    """The state_dict in `path`; see `state_in` and `unwrapped`."""
    try:
        state = state_in(load_torch(path, MAX_BYTES))
        _refuse_other_than_weights(state)
        refuse_unusual(state.values(), MAX_BYTES)
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return unwrapped(dict(state))


def _refuse_other_than_weights(state: Any) -> None:
    """Raise DataError unless `state` is a dict of names to floating-point tensors."""
    if not isinstance(state, dict):
        raise DataError(f"it holds {type(state).__name__}, want a dict of names to tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(
                f"its entry {str(name)[:80]!r} is {type(value).__name__}, want names to tensors"
            )
        if not value.is_floating_point():
            found = str(value.dtype).removeprefix("torch.")
            raise DataError(f"its weight {name[:80]!r} is {found}, want floating-point numbers")


def _refuse_other_process(folder: Path) -> None:
    """Raise CheckpointError if a scheduler beside the network tells of another process."""
    for place in (folder, folder / "scheduler", folder.parent / "scheduler"):
        file = place / SCHEDULER
        if not file.is_file():
            continue
        try:
            config = read_json(file)
            if not isinstance(config, dict):
                raise ValueError("want settings by name")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: not a readable scheduler ({error})") from None
        if "_class_name" in config and "beta_schedule" not in config:
            raise CheckpointError(
                f"{file}: {str(config['_class_name'])[:80]} names no beta_schedule: faces are "
                "drawn with linear betas alone"
            )
        for key, ours in PROCESS.items():
            if config.get(key, ours) != ours:
                raise CheckpointError(
                    f"{file}: {key}={str(config[key])[:80]}: faces are drawn with {ours} alone"
                )


def _from_diffusers(folder: Path) -> DiffusersUNet:
    """The UNet2DModel in a folder of diffusers."""
    _refuse_other_process(folder)
    if (folder / f"{DIFFUSERS_WEIGHTS}.index.json").exists():
        raise CheckpointError(f"{folder}: its weights are in several files; want one")
    try:
        config = UNet2DModel.load_config(folder, local_files_only=True)
        kind = config.get("_class_name", UNet2DModel.__name__)
        if kind != UNet2DModel.__name__:
            raise CheckpointError(f"{folder}: is a {kind}, want a {UNet2DModel.__name__}")
        if config.get("quantization_config"):
            raise CheckpointError(f"{folder}: its weights are quantized; want plain ones")
        weights = folder / DIFFUSERS_WEIGHTS
        refuse_larger([weights], config, lambda: UNet2DModel.from_config(config))
        with torch.random.fork_rng(devices=[]):  # weights are drawn before they are filled
            unet, info = UNet2DModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except CheckpointError:
        raise
    except Exception as error:  # broken JSON, settings or weights: what it raises is open-ended
        raise CheckpointError(f"{folder}: not a readable UNet2DModel ({describe(error)})") from None
    # diffusers leaves missing weights random, and only warns.
    wrong = [f"missing {k}" for k in info["missing_keys"]]
    wrong += [f"unknown {k}" for k in info["unexpected_keys"]]
    if wrong:
        raise CheckpointError(
            f"{folder}: {len(wrong)} weights do not fit: {'; '.join(sorted(wrong)[:SHOWN])}"
        )
    channels = unet.config.in_channels, unet.config.out_channels
    if channels != (3, 3):
        raise CheckpointError(
            f"{folder}: from {channels[0]} to {channels[1]} channels; want 3 to 3"
        )
    if unet.class_embedding is not None:
        raise CheckpointError(f"{folder}: it is conditioned on a class; want an unconditional one")
    refuse_infinite(str(folder / DIFFUSERS_WEIGHTS), unet.state_dict())
    return DiffusersUNet(unet.eval())
