"""Loading a pipeline: what is written comes back, and what is wrong is refused in one line."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from hw2.bucket.storage import Bucket
from hw2.diffusion.schedule import scaled_linear_schedule
from hw2.errors import BusyError, CheckpointError
from hw2.lock import JOB_LOCK, only_writer
from hw2.text2image.export import write_pipeline
from hw2.text2image.finding import find_pipeline
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.vocabulary import small_tokenizer
from tests.buckets import BucketServer
from tests.personalize.tiny import CAPTIONS, CONTEXT, tiny_model, tiny_pipeline_folder

pytest_plugins = ["tests.bucket_fixtures"]
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline_folder(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pipeline"))


def test_what_is_written_comes_back(whole: Path) -> None:
    model, loaded = tiny_model(), load_stable_diffusion(str(whole))
    for part in ("unet", "vae", "text_encoder"):
        theirs = getattr(loaded, part).state_dict()
        for name, value in getattr(model, part).state_dict().items():
            want = value.half().float() if value.is_floating_point() else value
            assert torch.equal(theirs[name], want), name
        assert not any(p.requires_grad for p in getattr(loaded, part).parameters())
    assert loaded.scaling_factor == model.scaling_factor and loaded.image_size == 16
    assert loaded.prediction_type == "epsilon" and loaded.text_width == 32
    captions = ["a photo of a red car", "zebra"]
    assert torch.equal(loaded.tokens(captions), model.tokens(captions))
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64)
    assert torch.equal(loaded.schedule.betas, roots.square())


def test_the_hash_is_of_all_that_decides_a_picture() -> None:
    model, other = tiny_model(), tiny_model(seed=1)
    changes = [{part: getattr(other, part)} for part in ("unet", "text_encoder", "vae")]
    changes += [{"prediction_type": "v_prediction"}, {"scaling_factor": 0.25}]
    changes += [{"schedule": scaled_linear_schedule(1000)}]
    changes += [{"tokenizer": small_tokenizer(CAPTIONS, 100, CONTEXT - 1)}]
    hashes = [replace(model, **change).content_hash for change in changes]
    assert len({*hashes, model.content_hash}) == len(changes) + 1
    assert tiny_model().content_hash == model.content_hash


def test_a_pipeline_replaces_what_was_there_and_names_no_place(whole: Path, tmp_path: Path) -> None:
    for name in (".again.part", "again"):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "unet/of_before").touch()
    write_pipeline(load_stable_diffusion(str(whole)), tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
    names = {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*")}
    assert names == {path.relative_to(whole) for path in whole.rglob("*")}
    for config in (tmp_path / "again").rglob("*.json"):
        assert str(whole) not in config.read_text()


def test_folder_of_a_finished_training_is_found(whole: Path) -> None:
    assert find_pipeline(str(whole.parent)) == find_pipeline(str(whole)) == str(whole)
    assert find_pipeline("CompVis/stable-diffusion-v1-4") == "CompVis/stable-diffusion-v1-4"


def test_a_pipeline_that_a_training_is_about_to_replace(whole: Path) -> None:
    with only_writer(whole.parent, 0.0, JOB_LOCK):
        for model in (whole.parent, whole):
            with pytest.raises(BusyError, match=f"^{whole.parent}: a job is still at work there"):
                find_pipeline(str(model))
    (whole.parent / JOB_LOCK).unlink()


def test_a_kill_while_a_folder_is_replaced_leaves_a_whole_one(
    whole: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, ignore_errors: bool) -> None:
        for file in path.rglob("*.json"):
            file.unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr("hw2.data.replacing.shutil", SimpleNamespace(rmtree=killed))
    with pytest.raises(KeyboardInterrupt):
        write_pipeline(tiny_model(), folder)
    monkeypatch.undo()
    want = load_stable_diffusion(str(whole)).content_hash
    assert load_stable_diffusion(str(folder)).content_hash == want
    write_pipeline(tiny_model(), folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_of_the_fp16_variant_alone_loads(
    whole: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    found = load_stable_diffusion(str(folder))
    assert found.content_hash == load_stable_diffusion(str(whole)).content_hash
    assert capfd.readouterr() == ("", "")


def _truncate(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:5000])


def _only_pickles(folder: Path) -> None:
    weights = load_file(folder / UNET)
    (folder / UNET).unlink()
    torch.save(weights, (folder / UNET).with_suffix(".bin"))


def _lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / UNET)
    del weights["conv_in.weight"]
    save_file(weights, folder / UNET, metadata={"format": "pt"})


def _lose_a_text_weight(folder: Path) -> None:
    weights = load_file(folder / TEXT)
    del weights[next(name for name in weights if "token_embedding" in name)]
    save_file(weights, folder / TEXT, metadata={"format": "pt"})


def _no_number(file: str, name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / file)
        weights[next(key for key in weights if key.endswith(name))].view(-1)[0] = torch.inf
        save_file(weights, folder / file, metadata={"format": "pt"})

    return spoil


def _edit(file: str, **changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(config | changes))

    return edit


def _long(file: str) -> Callable[[Path], None]:
    def lengthen(folder: Path) -> None:
        with (folder / file).open("ab") as spaces:
            spaces.truncate(2**27)

    return lengthen


@pytest.mark.filterwarnings("ignore:The configuration file of the unet:FutureWarning")
@pytest.mark.parametrize(
    ("wrote", "side", "image_size"),
    [("0.8.1", 32, 128), ("0.3.0", 96, 192), ("0.9.0", 32, 64), ("0.8.1", 64, 128)],
)
def test_a_default_of_old_settings_is_taken_for_64_as_by_diffusers(
    folder: Path, wrote: str, side: int, image_size: int
) -> None:
    _edit("unet/config.json", _diffusers_version=wrote, sample_size=side)(folder)
    assert load_stable_diffusion(str(folder)).image_size == image_size
    theirs = StableDiffusionPipeline.from_pretrained(folder)
    assert theirs.unet.config.sample_size * theirs.vae_scale_factor == image_size


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_truncate, "the file is torn"),
        (
            _only_pickles,
            "its unet cannot be loaded .*pickles: save it again with safe_serialization=True",
        ),
        (_lose_a_weight, "its unet cannot be loaded .*1 missing weights: conv_in.weight"),
        (_lose_a_text_weight, "its text_encoder cannot be loaded .*missing weights"),
        (_no_number(UNET, "conv_in.bias"), "the weights of its unet: conv_in.bias holds nan or"),
        (_no_number(VAE, "encoder.conv_in.bias"), "of its vae: encoder.conv_in.bias holds nan or"),
        (
            _no_number(TEXT, "final_layer_norm.bias"),
            "of its text_encoder: final_layer_norm.bias holds nan or infinite numbers",
        ),
        (
            _edit("model_index.json", _class_name="StableDiffusionXLPipeline"),
            "is a StableDiffusionXL",
        ),
        (_edit("scheduler/scheduler_config.json", prediction_type="sample"), "predicts sample"),
        (
            _edit("scheduler/scheduler_config.json", rescale_betas_zero_snr=True),
            "its scheduler has rescale_betas_zero_snr",
        ),
        (
            _edit("scheduler/scheduler_config.json", beta_end=1.5),
            "its scheduler has beta_start=.*, beta_end=1.5: need 0 < beta_start",
        ),
        (
            _edit("scheduler/scheduler_config.json", trained_betas=[0.1, 2.0]),
            "its scheduler has betas=.* to 2.0: need numbers between 0 and 1",
        ),
        (
            _edit("scheduler/scheduler_config.json", trained_betas=[0.1, float("nan")]),
            "its scheduler has betas=nan to nan: need",
        ),
        (
            _edit("scheduler/scheduler_config.json", trained_betas=0.5),
            "its scheduler cannot be loaded .*trained_betas=0.5: want a list of numbers",
        ),
        *(
            (
                _edit("scheduler/scheduler_config.json", num_train_timesteps=steps),
                rf"its scheduler cannot be loaded .*num_train_timesteps={steps}: want 1 to 131072",
            )
            for steps in (10**9, 0, "x")
        ),
        (
            lambda folder: (folder / "scheduler/scheduler_config.json").write_text('"x"'),
            "its scheduler cannot be loaded",
        ),
        (_edit("tokenizer/tokenizer.json", version="x"), "its tokenizer cannot be loaded"),
        *(
            (
                _edit("tokenizer/tokenizer_config.json", model_max_length=limit),
                rf"its tokenizer has model_max_length={limit}, .*want 1 to \d+ in tokenizer",
            )
            for limit in (10**12, 0)
        ),
        (
            _edit("tokenizer/tokenizer_config.json", model_max_length=None),
            r"does not say how many tokens a prompt may have .*model_max_length\": \d+, as",
        ),
        (
            lambda folder: (folder / "text_encoder/config.json").unlink(),
            "its text_encoder cannot be loaded .*no config.json there",
        ),
        *(
            (_long(file), f"{file}.* over the allowed")
            for file in (
                "model_index.json",
                "unet/config.json",
                "tokenizer/tokenizer.json",
                "tokenizer/merges.txt",
            )
        ),
        (
            _edit("text_encoder/config.json", initializer_range=None),
            "its text_encoder cannot be loaded",
        ),
        *(
            (_edit("vae/config.json", scaling_factor=factor), f"scaling_factor={told}: want a pos")
            for factor, told in (
                (0, "0"),
                (-1.0, "-1.0"),
                (float("nan"), "nan"),
                ("x", "x"),
                (None, "None"),
                (True, "True"),
            )
        ),
        (
            lambda folder: FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler"),
            "FlowMatchEulerDiscreteScheduler has neither beta_schedule nor trained_betas",
        ),
        (_edit("unet/config.json", layers_per_block=10**5), "claims layers_per_block=100000"),
        (_edit("vae/config.json", block_out_channels=[16, 32 * 500]), "a network of .* numbers"),
        (_edit("text_encoder/config.json", num_hidden_layers=10**5), "num_hidden_layers=100000"),
        (_edit("unet/config.json", block_out_channels=[16, 64]), "its unet cannot be loaded"),
        (
            lambda folder: (folder / "model_index.json").write_text("{"),
            "model_index.json cannot be",
        ),
        (lambda folder: shutil.rmtree(folder / "vae"), "its vae cannot be loaded"),
    ],
)
def test_what_is_wrong_is_refused(folder: Path, spoil: Callable[[Path], None], told: str) -> None:
    spoil(folder)
    with pytest.raises(CheckpointError, match=told) as refusal:
        load_stable_diffusion(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        ("unet", "norm_eps", "8", r"its unet does not compute \(TypeError"),
        ("unet", "freq_shift", [1], r"its unet does not compute \(TypeError"),
        ("unet", "mid_block_scale_factor", "x", r"its unet does not compute \(TypeError"),
        ("unet", "norm_num_groups", -1, r"its unet does not compute \(RuntimeError"),
        ("unet", "layers_per_block", -1, r"its unet does not compute \(RuntimeError"),
        ("unet", "downsample_padding", [], r"its unet does not compute \(IndexError"),
        ("unet", "in_channels", 0, "describes a network whose conv_in.weight is empty"),
        ("unet", "sample_size", "x", "its unet has sample_size=x: want 1 to 512"),
        ("unet", "sample_size", 0, "its unet has sample_size=0: want 1 to 512"),
        ("unet", "sample_size", 2**17, "its unet has sample_size=131072: want 1 to 512"),
        ("unet", "sample_size", None, "its unet has sample_size=None: want 1 to 512"),
        ("text_encoder", "num_attention_heads", -1, "its text_encoder does not compute"),
        ("text_encoder", "intermediate_size", 0, "describes a network whose .* is empty"),
    ],
)
def test_a_config_that_makes_a_network_which_does_not_compute_is_refused(
    folder: Path, part: str, key: str, value: object, told: str
) -> None:
    _edit(f"{part}/config.json", **{key: value})(folder)
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match=told) as refusal:
        warnings.filterwarnings("error", message=".*zero-element")
        load_stable_diffusion(str(folder))
    assert "\n" not in str(refusal.value)


def test_a_model_in_a_bucket(
    folder: Path, tmp_path: Path, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    want = load_stable_diffusion(str(folder)).content_hash
    saved, trained = bucket_server.upload(folder, "saved"), tmp_path / "trained"
    shutil.copytree(folder, trained / "pipeline")
    (trained / "checkpoints").mkdir()
    for name in ("final.safetensors", "checkpoints/state.safetensors", "pipeline/unet/code.py"):
        (trained / name).write_text("of no use to a pipeline")
    for uri in (saved, bucket_server.upload(trained, "trained")):
        assert load_stable_diffusion(uri).content_hash == want
    fetched = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert "model_index.json" in fetched and "final.safetensors" not in fetched
    assert not fetched & {"state.safetensors", "code.py"}
    with pytest.raises(CheckpointError, match=r"^model=s3://results/none: has no model_index.json"):
        find_pipeline(bucket_server.uri("none"))
    torn = next((folder / "unet").glob("*.safetensors"))
    (trained / "pipeline" / "unet" / torn.name).write_bytes(torn.read_bytes()[:5000])
    told = rf"^s3://results/torn/pipeline/unet/{torn.name}: its config describes"
    with pytest.raises(CheckpointError, match=told):
        load_stable_diffusion(bucket_server.upload(trained, "torn"))
    (tmp_path / "torn.ckpt").write_bytes(b"torn")
    Bucket(bucket_server.uri("torn")).put("torn.ckpt", tmp_path / "torn.ckpt", 4)
    with pytest.raises(CheckpointError, match=r"^s3://results/torn/torn\.ckpt: not a torch file"):
        load_stable_diffusion(bucket_server.uri("torn/torn.ckpt"))


@pytest.mark.parametrize("model", ["asset:nothing", "./nowhere", "run:abc", "stable-diffusion"])
def test_nothing_there(model: str) -> None:
    with pytest.raises(CheckpointError, match=f"model={model}: no"):
        find_pipeline(model)


def test_a_hub_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = (
        r"model=my/modle: no such folder here, and the hub does not give it \(.*\): give a folder"
    )
    with pytest.raises(CheckpointError, match=told) as refusal:
        load_stable_diffusion("my/modle")
    assert "\n" not in str(refusal.value)
