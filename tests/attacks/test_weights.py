"""Weights from others: no code of theirs runs, and nothing that they claim is believed unseen."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hw2.checkpoint import MANIFEST, STATE, CheckpointStore
from hw2.clip.finding import find_clip
from hw2.clip.loading import load_clip
from hw2.data.files import sha256_of
from hw2.data.noises import read_noises
from hw2.digits.drawing import load_digit_model
from hw2.digits.judging import load_judge
from hw2.errors import CheckpointError, Hw2Error
from hw2.faces.loading import load_face_model, weights_file
from hw2.locate import ASSETS
from hw2.models.face_unet import FaceUNet
from hw2.personalize.embeddings import read_embeddings, read_tensors
from hw2.settings.training import TrainConfig
from hw2.text2image.autoencoder_training import load_autoencoder
from hw2.text2image.loading import load_stable_diffusion
from hw2.train_state import TrainState
from hw2.weights import load_weights, save_weights
from tests.attacks.hostile import entry, pickles, safetensors
from tests.toy import toy_net

META = {"__metadata__": {"hw2": "{}"}}


def read_as_folder(path: Path) -> None:
    """As a Stable Diffusion folder, the pickle in place of the UNet's weights."""
    folder = path.parent / "sd"
    if not folder.exists():
        folder.mkdir()
        for part in (ASSETS / "text2image").iterdir():
            (folder / part.name).symlink_to(part)
        (folder / "unet").unlink()
        (folder / "unet").mkdir()
        config = (ASSETS / "text2image/unet/config.json").read_text()
        (folder / "unet/config.json").write_text(config)
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(path.read_bytes())
    load_stable_diffusion(str(folder))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a judge": ("judge.pth", load_judge),
    "a judge's checkpoint": ("judge.ckpt", load_judge),
    "a face network": ("UNet.pt", load_face_model),
    "a digit model by another name": ("final.safetensors", load_digit_model),
    "a noise": ("00.pt", lambda path: read_noises(path.parent)),
    "an embedding": ("embedding.bin", read_embeddings),
    "a learnt token": ("learned.pt", read_embeddings),
    "a CLIP": ("clip.ckpt", lambda path: find_clip(None, str(path))),
    "a text-to-image model": ("unet.bin", read_as_folder),
}

SAFETENSORS_ALONE = ("a digit model by another name", "a CLIP", "a text-to-image model")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", READERS)
def test_no_pickle_runs(what: str, tmp_path: Path) -> None:
    mark, (name, read) = tmp_path / "executed", READERS[what]
    path = tmp_path / "given" / name
    path.parent.mkdir()
    for form, content in pickles(mark).items():
        path.write_bytes(content)
        with pytest.raises(Hw2Error) as told:
            read(path)
        if form == "zip" and what not in SAFETENSORS_ALONE:
            assert "nothing but tensors" in str(told.value)
        assert "\n" not in str(told.value) and str(path.parent) in str(told.value)
        assert "weights_only" not in str(told.value)  # torch's advice to load it unsafely
    assert not mark.exists() and not (tmp_path / "escaped").exists()
    pickle.loads(pickles(mark)["plain"])  # the trap is real: a plain unpickler falls into it
    assert mark.exists()


HEADERS = {
    "says a huge length": safetensors(META | {"net.w": entry()}, length=2**63),
    "is longer than the file": safetensors(META | {"net.w": entry()}, length=10**6),
    "is empty": safetensors(b""),
    "is not JSON": safetensors(b"{nonsense"),
    "is not UTF-8": safetensors(b'{"\xff": 1}'),
    "is nested deep": safetensors(b"[" * 100_000),
    "leads out of the file": safetensors(
        META | {"net.w": entry(shape=[2**38], data_offsets=[0, 2**40])}
    ),
    "lets tensors overlap": safetensors(META | {"net.w": entry(), "net.v": entry()}),
    "leaves a gap": safetensors(META | {"net.w": entry(shape=[2], data_offsets=[8, 16])}),
    "ends before it begins": safetensors(META | {"net.w": entry(data_offsets=[16, 0])}),
    "has no such type": safetensors(META | {"net.w": entry(dtype="F99")}),
    "has a negative side": safetensors(META | {"net.w": entry(shape=[-4])}),
    "overflows": safetensors(META | {"net.w": entry(shape=[2**40, 2**40, 4])}),
    "claims more than there is": safetensors(META | {"net.w": entry(shape=[1000])}),
    "hides data behind the tensors": safetensors(META | {"net.w": entry()}, bytes(64)),
}


class Four(nn.Module):
    """Four weights."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))


def torn(path: Path) -> list[str]:
    """What the readers of safetensors say of a file."""
    said = []
    for read in (lambda: load_weights(path, Four(), "net"), lambda: read_tensors(path, 2**20)):
        with pytest.raises(CheckpointError) as told:
            read()
        said.append(str(told.value))
    return said


@pytest.mark.parametrize("how", HEADERS)
def test_a_false_header(how: str, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    path.write_bytes(HEADERS[how])
    for said in torn(path):
        assert said.startswith(f"{path}: not a readable safetensors file (") and "\n" not in said


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ('{"dtype": "I32", "shape": [4], "data_offsets": [0, 16]}', "w is torch.int32, want"),
        ('{"dtype": "F32", "shape": [0, 4611686018427387904], "data_offsets": [0, 0]}', "w is (0,"),
        # The name is there twice: the latter counts, and has not the shape.
        (
            '{"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "net.w": '
            '{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}',
            "w is (2, 2), want (4,)",
        ),
    ],
)
def test_a_sound_header_of_other_tensors(tensor: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    header = f'{{"__metadata__": {{"hw2": "{{}}"}}, "net.w": {tensor}}}'
    path.write_bytes(safetensors(header.encode(), b"" if "[0, 0]" in tensor else bytes(16)))
    net = Four()
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_weights(path, net, "net")
    assert net.w.tolist() == [0.0] * 4


@pytest.mark.parametrize(("kind", "shape"), [("F6_E3M2", [4]), ("F4", [2, 3])])
def test_numbers_that_torch_has_not(kind: str, shape: list[int], tmp_path: Path) -> None:
    """Safetensors knows them, and tells so when they are read alone."""
    path, of = tmp_path / "final.safetensors", entry(dtype=kind, shape=shape, data_offsets=[0, 3])
    path.write_bytes(safetensors(META | {"net.w": of}, bytes(3)))
    with pytest.raises(CheckpointError, match="not a readable safetensors file") as told:
        load_weights(path, Four(), "net")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"a": 1' * 50_000])
def test_broken_metadata(text: str, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    path.write_bytes(safetensors({"__metadata__": {"hw2": text}, "net.w": entry()}))
    with pytest.raises(CheckpointError, match="its hw2 metadata is broken"):
        load_weights(path, Four(), "net")
    if text in ("[1]", "null"):  # of which others' files may say anything
        assert read_tensors(path, 2**20)[1] == {}
        return
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_tensors(path, 2**20)


DIGITS = {"kind": "digit_ddpm", "network": {}, "diffusion": {}}
CLIP_PARTS = {
    "vision_cfg": {"image_size": 32, "patch_size": 4, "width": 64, "head_width": 64, "layers": 1},
    "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1, "vocab_size": 49408},
}
CLIP = {"kind": "clip", "preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}


def clip_cfg(**other: Any) -> dict[str, Any]:
    return CLIP | {"model_cfg": {"embed_dim": 64, **CLIP_PARTS} | other}


CLAIMS: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "no network": (load_digit_model, {"kind": "digit_ddpm"}, "has no network"),
    "a network that is a text": (load_digit_model, DIGITS | {"network": "x"}, "a false network"),
    "unknown words": (load_digit_model, DIGITS | {"network": {"evil": 1}}, "a false network"),
    # A gigabyte a layer, and layers without end.
    "channels": (
        load_digit_model,
        DIGITS | {"network": {"channels": [65536, 65536]}},
        "weights do not fit: missing",
    ),
    "a layer too many": (load_digit_model, DIGITS | {"network": {"layers": 10**9}}, "layers="),
    "levels": (
        load_digit_model,
        DIGITS | {"network": {"channels": [64] * 10**4, "attention": [False] * 10**4}},
        "layers=10000",
    ),
    "timesteps": (
        load_digit_model,
        DIGITS | {"diffusion": {"num_train_timesteps": 10**12}},
        "num_train_timesteps=1000000000000",
    ),
    "a timestep too many": (
        load_digit_model,
        DIGITS | {"diffusion": {"num_train_timesteps": 2**17 + 1}},
        "its metadata claims num_train_timesteps=131073: no network has that",
    ),
    "faces": (
        load_face_model,
        {"kind": "face_ddpm", "network": {"channels": [2**16] * 6}},
        "do not fit|layers=",
    ),
    "an autoencoder": (
        load_autoencoder,
        {"kind": "autoencoder", "network": {"channels": [2**16] * 3}, "image_size": 64},
        "do not fit|layers=",
    ),
    "a picture": (
        load_autoencoder,
        {"kind": "autoencoder", "network": {}, "image_size": 10**9},
        "false image_size",
    ),
    "another's words": (
        lambda path: find_clip(None, str(path)),
        clip_cfg(text_cfg={"hf_model_name": "evil/model"}),
        "a false model_cfg",
    ),
    "a word that changes the network": (
        lambda path: find_clip(None, str(path)),
        clip_cfg(quick_gelu=True),
        "a false model_cfg",
    ),
    "a tower from elsewhere": (
        lambda path: find_clip(None, str(path)),
        clip_cfg(vision_cfg=CLIP_PARTS["vision_cfg"] | {"timm_model_name": "hf-hub:evil/x"}),
        "a false model_cfg",
    ),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_that_the_weights_do_not_keep(what: str, tmp_path: Path) -> None:
    read, meta, said = CLAIMS[what]
    path = tmp_path / "final.safetensors"
    tensors = {"ema.w": torch.zeros(4)} | {f"ema.{i}": torch.zeros(1) for i in range(8)}
    save_file(tensors, path, metadata={"hw2": json.dumps(meta)})
    with pytest.raises(CheckpointError, match=said) as told:
        read(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


HUGE = {"wide": {"block_out_channels": [32, 32 * 400]}, "deep": {"layers_per_block": 10**5}}


@pytest.mark.parametrize("how", HUGE)
def test_a_config_of_diffusers_that_the_weights_do_not_keep(how: str, tmp_path: Path) -> None:
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    config = {"_class_name": "UNet2DModel", "block_out_channels": [32, 32], **blocks} | HUGE[how]
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {str(number): torch.zeros(1) for number in range(8)}
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    said = r"of \d{8,} numbers, and it has \d{3} bytes|its config claims layers_per_block=100000"
    with pytest.raises(CheckpointError, match=said):
        load_face_model(weights_file(str(tmp_path)))


TOWERS: dict[str, dict[str, Any]] = {
    "wide": {"vision_cfg": {"width": 2**16, "layers": 2, "head_width": 64}},
    "deep": {"text_cfg": {"layers": 10**6}},
    "long": {"text_cfg": {"context_length": 2**30}},
    "timm": {"vision_cfg": {"timm_model_name": "vit_giant_patch14_224"}},
}


@pytest.mark.parametrize("how", TOWERS)
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_config_of_open_clip_that_the_weights_do_not_keep(
    how: str, suffix: str, tmp_path: Path
) -> None:
    config = {key: CLIP_PARTS[key] | TOWERS[how].get(key, {}) for key in ("vision_cfg", "text_cfg")}
    config = {"model_cfg": {"embed_dim": 8, **config}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    path = tmp_path / f"open_clip_model.{suffix}"
    if suffix == "bin":
        torch.save({"logit_scale": torch.zeros(())}, path)
    else:
        save_file({"logit_scale": torch.zeros(())}, path)
    source = find_clip(f"local-dir:{tmp_path}", None)
    with pytest.raises(CheckpointError, match=r"numbers, and it has|its config claims \w+=\d{7,}"):
        load_clip(source)


def test_a_config_of_diffusers_beside_weights_in_several_files(tmp_path: Path) -> None:
    """A pipeline's UNet, whole, then with a config of 400 times the channels."""
    folder = tmp_path / "sd"
    shutil.copytree(ASSETS / "text2image", folder)
    load_stable_diffusion(str(folder)).unet.save_pretrained(folder / "unet", max_shard_size="1MB")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    load_stable_diffusion(str(folder))
    config = json.loads((folder / "unet/config.json").read_text())
    channels = [400 * number for number in config["block_out_channels"]]
    (folder / "unet/config.json").write_text(json.dumps(config | {"block_out_channels": channels}))
    with pytest.raises(CheckpointError, match=r"of \d{9,} numbers, and it has \d+ bytes"):
        load_stable_diffusion(str(folder))


def test_a_sound_file_is_taken(tmp_path: Path) -> None:
    """What is refused above is refused for what it claims."""
    net, path = FaceUNet((64,) * 6), tmp_path / "final.safetensors"
    save_weights(path, {"ema": net}, {"kind": "face_ddpm", "network": {"channels": [64] * 6}})
    assert load_face_model(path).net.channels == (64,) * 6


@pytest.mark.parametrize("deep", [False, True])
def test_a_checkpoint_of_another_run_with_a_true_checksum(
    deep: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, config = CheckpointStore(tmp_path), TrainConfig(num_steps=5)
    state = TrainState(toy_net(), config)
    path = store.save(3, {"net.evil": torch.zeros(2)}, {}, None)
    if deep:  # and a manifest that would end the reader
        (path / MANIFEST).write_text("[" * 100_000)
        assert store.latest() is None
        assert "nested too deep" in capsys.readouterr().err
        return
    assert json.loads((path / MANIFEST).read_text())["sha256"] == sha256_of(path / STATE)
    before = {name: value.clone() for name, value in state.net.state_dict().items()}
    found = store.latest()
    assert found is not None
    with pytest.raises(CheckpointError, match=r"the checkpoint of step 3: \d+ weights do not fit"):
        state.load(found.step, found.tensors)
    assert state.step == 0
    for name, value in state.net.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("name", ["net", "ema", "optimizer.exp_avg", "optimizer.step"])
@pytest.mark.parametrize("how", ["nan", "integers"])
def test_a_checkpoint_of_no_numbers_with_a_true_checksum(name: str, how: str) -> None:
    state = TrainState(toy_net(), TrainConfig(num_steps=5))
    tensors = {key: torch.zeros(shape) for key, shape in state._shapes().items()}
    key = next(key for key in tensors if key.startswith(f"{name}."))
    bad = torch.full_like(tensors[key], torch.nan)
    tensors[key] = bad if how == "nan" else torch.zeros_like(bad, dtype=torch.int64)
    before = {key: value.clone() for key, value in state.net.state_dict().items()}
    told = "holds nan or infinite" if how == "nan" else "is torch.int64, want torch.float32"
    with pytest.raises(CheckpointError, match=f"the checkpoint of step 3: {key} {told}"):
        state.load(3, tensors)
    assert state.step == 0
    assert all(torch.equal(v, before[k]) for k, v in state.net.state_dict().items())
