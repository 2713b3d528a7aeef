"""Models in every form that users have, beside open_clip's own loading; bad ones refused."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import open_clip.factory
import open_clip.pretrained
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from hw2.clip.finding import ClipSource, find_clip
from hw2.clip.loading import LoadedClip, load_clip
from hw2.clip.store import EmbeddingStore
from hw2.errors import BusyError, CheckpointError, ConfigError
from hw2.lock import JOB_LOCK, only_writer
from hw2.weights import save_weights
from tests.clip.small import MODEL_CFG, PREPROCESS_CFG, lively_clip, save_clip
from tests.jobs.command import Folder

TEXTS = ["a photo of a dog.", "the sea"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an architecture that open_clip knows during the test."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {})
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL_CFG))
    open_clip.add_model_config(tmp_path / "tiny.json")
    return "tiny"


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {name: value.clone() for name, value in lively_clip().state_dict().items()}


def write_folder(folder: Path, weights: dict[str, Tensor], **other: Any) -> str:
    """What open_clip pushes to the hub, as the model's name."""
    folder.mkdir()
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG | other}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def embeddings(net: nn.Module, tokenize: Any) -> tuple[Tensor, Tensor]:
    pictures = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return net.encode_image(pictures), net.encode_text(tokenize(TEXTS))


def assert_is(loaded: LoadedClip, net: nn.Module) -> None:
    tokenize = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    found = embeddings(loaded.net, loaded.tokenize)
    torch.testing.assert_close(found, embeddings(net, tokenize), rtol=0, atol=0)
    assert not loaded.net.training
    assert loaded.scale == pytest.approx(1 / 0.07, rel=1e-5)


def assert_same_transform(source: ClipSource, theirs: Any) -> None:
    rng = np.random.default_rng(0)
    for shape in ((30, 21, 3), (16, 16, 3), (9, 40, 3)):
        picture = rng.integers(0, 256, shape, dtype=np.uint8)
        pixels = torch.from_numpy(source.preprocess.pixels(picture).copy())
        found = source.preprocess.normalised(pixels[None])[0]
        assert torch.equal(found, theirs(Image.fromarray(picture)))


def test_a_folder_as_open_clip_pushes_it(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    other = {"mean": [0.5, 0.4, 0.3], "resize_mode": "longest", "interpolation": "bilinear"}
    name = write_folder(tmp_path / "pushed", weights, **other, fill_color=9)
    source = find_clip(name, None)
    assert_is(load_clip(source), lively_clip())
    net, transform = open_clip.create_model_from_pretrained(name)
    assert_is(load_clip(source), net.eval())
    assert_same_transform(source, transform)


def test_what_jobs_train_clip_leaves(tmp_path: Path) -> None:
    source = find_clip(None, str(save_clip(tmp_path / "run" / "final.safetensors").parent))
    assert_is(load_clip(source), lively_clip())
    assert (source.title, source.model) == ("run", None)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_of_a_named_model(
    suffix: str, tiny: str, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    path = tmp_path / f"epoch_9.{suffix}"
    if suffix == "pt":  # as open_clip's own training saves it, on several GPUs
        state = {f"module.{name}": value for name, value in weights.items()}
        torch.save({"epoch": 9, "name": "run", "state_dict": state}, path)
    else:
        save_file(weights, path)
    source = find_clip(tiny, str(path))
    assert_is(load_clip(source), lively_clip())
    assert_same_transform(source, open_clip.create_model_from_pretrained(tiny, str(path))[1])
    assert source.title == f"tiny {path.name}"


class Program(nn.Module):
    """Weights and sizes as OpenAI's first files have them."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in lively_clip().state_dict().items():
            *path, last = name.split(".")
            place: nn.Module = self
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_buffer(last, value)
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, torch.tensor(16))

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.jit
def test_the_state_dict_of_a_program_is_taken_as_advised(tiny: str, tmp_path: Path) -> None:
    script = tmp_path / "jit.pt"
    torch.jit.script(Program()).save(str(script))
    assert "save the state_dict() of what you trust as .safetensors" in refused(tiny, str(script))
    state = torch.jit.load(str(script)).state_dict()
    save_file(state, tmp_path / "x.safetensors")
    assert_is(load_clip(find_clip(tiny, str(tmp_path / "x.safetensors"))), lively_clip())


def test_openai_s_weights_want_their_activation(tmp_path: Path) -> None:
    sizes = {name: torch.tensor(16) for name in ("input_resolution", "context_length")}
    sizes |= {"vocab_size": torch.tensor(9), "x": torch.zeros(1)}
    path = str(tmp_path / "x.safetensors")
    save_file(sizes, path)
    said = refused("ViT-B-32", path)
    assert said.endswith("than ViT-B-32: give --model ViT-B-32-quickgelu")
    assert "Missing key(s)" in refused("ViT-B-32-quickgelu", path)
    del sizes["vocab_size"]
    save_file(sizes, path)
    assert "Missing key(s)" in refused("ViT-B-32", path)


def test_weights_of_transformers_are_told_from_torn_ones(tiny: str, tmp_path: Path) -> None:
    path = str(tmp_path / "model.safetensors")
    save_file({"visual_projection.weight": torch.zeros(2, 2)}, path)
    said = refused(tiny, path)
    assert "(its weights have transformers' names, as of its CLIPModel): give the same" in said


@pytest.mark.parametrize(
    ("model", "tag"), [("ViT-B-16-SigLIP", "webli"), ("ViT-B-32", "openai"), ("RN50", "yfcc15m")]
)
def test_a_file_is_prepared_for_as_its_model_s_tags_are(
    model: str, tag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.safetensors").touch()
    source = find_clip(model, str(tmp_path / "x.safetensors"))
    assert_same_transform(source, transform_of(model, tag))
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("model", ["ViT-L-14", "ViT-H-14"])
def test_where_tags_differ_a_file_gets_openai_s_with_a_warning(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.safetensors").touch()
    source = find_clip(model, str(tmp_path / "x.safetensors"))
    assert_same_transform(source, transform_of("ViT-B-32", "openai"))
    odd = {"ViT-L-14": "laion2b_s32b_b82k", "ViT-H-14": "dfn5b"}[model]
    assert str(transform_of(model, odd)) != str(transform_of("ViT-B-32", "openai"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("warning: ") and f"like {odd} give" in said[0]


def transform_of(model: str, tag: str) -> Any:
    """open_clip's own for a tag."""
    size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    wanted = open_clip.get_pretrained_cfg(model, tag)
    config = merge_preprocess_dict(PreprocessCfg(size=size), wanted)
    return image_transform_v2(PreprocessCfg(**config), is_train=False)


def test_a_tag_that_wants_quick_gelu_gets_it(
    tiny: str, tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(weights, tmp_path / "x.safetensors")
    tag = {"file": str(tmp_path / "x.safetensors"), "quick_gelu": True, "std": (0.3, 0.3, 0.3)}
    plain = tag | {"quick_gelu": False}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny, {"quick": tag, "plain": plain})
    source, other = find_clip(tiny, "quick"), find_clip(tiny, "plain")
    net = load_clip(source).net
    assert any(isinstance(module, QuickGELU) for module in net.modules())
    assert not any(isinstance(module, QuickGELU) for module in load_clip(other).net.modules())
    want = open_clip.CLIP(**MODEL_CFG, quick_gelu=True).eval()
    want.load_state_dict(weights)
    assert_is(load_clip(source), want)
    assert source.preprocess.std == (0.3, 0.3, 0.3)
    assert source.weights_hash == other.weights_hash and source.network != other.network


def test_embeddings_of_other_networks_are_not_mixed_up(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    """The same weights fit with other numbers of heads, and mean something else."""
    name = write_folder(tmp_path / "pushed", weights)
    config = tmp_path / "pushed" / "open_clip_config.json"
    sources, found = [], []
    for width in (16, 8):
        config.write_text(
            re.sub(r'"head_width": \d+', f'"head_width": {width}', config.read_text())
        )
        sources.append(find_clip(name, None))
        loaded = load_clip(sources[-1])
        found.append(embeddings(loaded.net, loaded.tokenize)[0])
    assert sources[0].weights_hash == sources[1].weights_hash
    assert float((found[0] - found[1]).abs().max()) > 1e-3
    stores = [EmbeddingStore(tmp_path, source.embedding_key("fp32")).folder for source in sources]
    assert stores[0] != stores[1]


def test_embeddings_of_other_preparations_are_not_mixed_up(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    one, other = (
        find_clip(write_folder(tmp_path / name, weights, mean=mean), None)
        for name, mean in (("one", [0.5, 0.5, 0.5]), ("other", [0.5, 0.4, 0.3]))
    )
    assert one.network == other.network and one.hashes != other.hashes
    stores = {
        EmbeddingStore(tmp_path, source.embedding_key(precision)).folder
        for source in (one, other)
        for precision in ("fp32", "bf16")
    }
    assert len(stores) == 4


def test_workers_elsewhere_load_what_was_named_here(
    tiny: str, tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(weights, tmp_path / "x.safetensors")
    write_folder(tmp_path / "pushed", weights)
    monkeypatch.chdir(tmp_path)
    sources = [find_clip(tiny, "x.safetensors"), find_clip("local-dir:pushed", None)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for source in sources:
        assert_is(load_clip(source), lively_clip())


def test_a_model_may_be_named_as_openai_does(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").touch()
    assert find_clip("ViT-B/32", str(tmp_path / "x.safetensors")).model == "ViT-B-32"


def refused(model: str | None, pretrained: str | None) -> str:
    with pytest.raises((CheckpointError, ConfigError)) as error:
        load_clip(find_clip(model, pretrained))
    said = str(error.value)
    assert said and "\n" not in said and len(said) < 700
    return said


class Code:
    """Unpickled with code allowed, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_runs_no_code(tiny: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "x.pt", tmp_path / "it_ran"
    torch.save({"state_dict": Code(trace)}, path)
    said = refused(tiny, str(path))
    assert "holds more than tensors" in said and "best as .safetensors" in said
    path.write_bytes(pickle.dumps(Code(trace)))
    assert "holds more than tensors" in refused(tiny, str(path))
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # so it would have


def test_weights_that_are_no_numbers(tiny: str, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    weights["text_projection"][0, 0] = torch.nan
    path = tmp_path / "x.safetensors"
    save_file(weights, path)
    said = refused(tiny, str(path))
    assert said.startswith(f"{path}: text_projection holds nan or infinite numbers")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.jit
def test_damaged_and_foreign_files(tiny: str, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    whole, path = tmp_path / "whole.safetensors", tmp_path / "x.safetensors"
    save_file(weights, whole)
    path.write_bytes(whole.read_bytes()[:-1000])
    assert "x.safetensors: no weights that tiny can load" in refused(tiny, str(path))
    for content in (b"epoch 9, loss 0.3\n" * 9, b""):
        for name in ("x.pt", "x.safetensors"):
            (tmp_path / name).write_bytes(content)
            said = refused(tiny, str(tmp_path / name))
            assert f"{name}: no weights that tiny can load" in said
    save_file({"visual.conv1.weight": torch.zeros(8, 3, 4, 4)}, path)
    said = refused(tiny, str(path))
    assert "Missing key(s)" in said and "or the --model that these are of" in said
    script = tmp_path / "jit.pt"  # as OpenAI's files
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(script))
    assert "TorchScript archive" in refused(tiny, str(script))


def test_broken_folders(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    name = write_folder(tmp_path / "pushed", weights)
    config = tmp_path / "pushed" / "open_clip_config.json"
    for content in ("{not json", "[]", "{}", '{"model_cfg": []}', '{"model_cfg": {}}', "\xff"):
        config.write_bytes(content.encode("latin-1"))
        said = refused(name, None)
        assert f"model={name}: open_clip_config.json is broken" in said
        assert "want open_clip's, with model_cfg and preprocess_cfg" in said
    wrong = ("mean", [0] * 2), ("std", ["x"] * 3), ("mean", [10**400] * 3), ("std", [0, 1, 1])
    for key, value in wrong:
        config.write_text(json.dumps({"model_cfg": MODEL_CFG, "preprocess_cfg": {key: value}}))
        assert f"{key}=" in refused(name, None) and "want three numbers" in refused(name, None)
    config.write_text(json.dumps({"model_cfg": MODEL_CFG, "preprocess_cfg": {"fill_color": "x"}}))
    assert "fill_color=x: want 0 to 255" in refused(name, None)
    for size in ([], [8], "x", 0, 10**9, ["x", "y"]):
        vision = MODEL_CFG["vision_cfg"] | {"image_size": size}
        config.write_text(json.dumps({"model_cfg": MODEL_CFG | {"vision_cfg": vision}}))
        assert "open_clip_config.json is broken" in refused(name, None)
    config.write_text(json.dumps({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}))
    assert "its config describes no network" in refused(name, None)
    config.write_text(json.dumps({"model_cfg": MODEL_CFG}))
    (tmp_path / "pushed" / "open_clip_model.safetensors").unlink()
    assert "want open_clip_model.safetensors there" in refused(name, None)
    config.unlink()
    assert "does not exist: want it and the weights" in refused(name, None)
    assert "has its own weights: leave it out" in refused(name, "openai")


def test_a_folder_with_another_tokenizer_is_another_network(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    name = write_folder(tmp_path / "pushed", weights)
    words = tmp_path / "pushed/vocab.txt"
    hashes = []
    for own in ({}, {"hf_tokenizer_name": "org/words"}):
        text = MODEL_CFG["text_cfg"] | own
        config = {"model_cfg": MODEL_CFG | {"text_cfg": text}}
        (tmp_path / "pushed/open_clip_config.json").write_text(json.dumps(config))
        for content in ("a\nb\n", "a\nc\n"):
            words.write_text(content)
            source = find_clip(name, None)
            store = EmbeddingStore(tmp_path, source.embedding_key("fp32"))
            hashes.append((source.hashes["network"], store.folder))
    assert hashes[0] == hashes[1]  # open_clip's own, which reads no files there
    assert len({*hashes}) == len(dict(hashes)) == 3
    (tmp_path / "pushed/README.md").write_text("no tokenizer")
    assert find_clip(name, None).hashes["network"] == hashes[-1][0]


def test_weights_replaced_after_they_were_found(
    tiny: str, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    """An actor loads long after the job hashed them: embeddings would be kept under their name."""
    other, file = lively_clip(seed=4).state_dict(), tmp_path / "tiny.safetensors"
    folder, trained = write_folder(tmp_path / "pushed", weights), tmp_path / "final.safetensors"
    save_file(weights, file)
    save_clip(trained)
    sources = find_clip(folder, None), find_clip(tiny, str(file)), find_clip(None, str(trained))
    for source in sources:
        assert torch.equal(load_clip(source).net.visual.proj, weights["visual.proj"])
    save_file(other, tmp_path / "pushed" / "open_clip_model.safetensors")
    save_file(other, file)
    save_clip(trained, seed=4)
    for source in sources:
        with pytest.raises(CheckpointError, match=rf"{source.weights}: was replaced while the job"):
            load_clip(source)


def test_a_missing_tokenizer(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    name = write_folder(tmp_path / "pushed", weights)
    text = MODEL_CFG["text_cfg"] | {"hf_tokenizer_name": "org/words"}
    config = {"model_cfg": MODEL_CFG | {"text_cfg": text}}
    (tmp_path / "pushed" / "open_clip_config.json").write_text(json.dumps(config))
    assert "its tokenizer cannot be loaded" in refused(name, None)


def test_weights_of_something_else(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "final.safetensors"
    save_weights(path, {"ema": nn.Linear(2, 2)}, {"kind": "judge"})
    assert "not weights of jobs.train_clip but of a judge" in refused(None, str(path))
    save_file(weights, path)
    assert "say by --model which open_clip model" in refused(None, str(path))
    path.write_bytes(b"torn")
    assert "not a readable safetensors file" in refused(None, str(path))
    assert "not weights of jobs.train_clip but of a digit_ddpm" in refused(None, "asset:digits")


@pytest.mark.parametrize("model", ["hf-hub:nobody/nothing", "ViT-B-32"])
def test_without_network(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "val").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "val" / "0_0.png")
    (tmp_path / "id2label.json").write_text('{"0": "dog"}')
    tag = "null" if model.startswith("hf-hub:") else "laion2b_s34b_b79k"
    settings = {"images": "val", "out": "out", "model": model, "pretrained": tag}
    ended = Folder(tmp_path).run_here("clip_zero_shot", settings)
    said = ended.refusal()
    assert "the weights cannot be fetched" in said and "for asset:clip" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_a_training_is_about_to_replace(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    model = write_folder(tmp_path / "open_clip", weights)
    told = f"^{tmp_path}: a job is still at work there: wait"
    with only_writer(tmp_path, 0.0, JOB_LOCK), pytest.raises(BusyError, match=told):
        find_clip(model, None)
    assert find_clip(model, None).model == model
