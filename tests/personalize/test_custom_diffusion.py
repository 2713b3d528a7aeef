"""Custom Diffusion on a tiny pipeline: what moves, what is saved, and prior preservation."""

from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor
from PIL import ExifTags, Image
from safetensors.torch import load_file
from torch import Tensor, nn

from hw2.config import ScalingConfig
from hw2.data.captions import train_folder
from hw2.distributed import train
from hw2.errors import CheckpointError, ConfigError
from hw2.fixed_noise import FixedNoiseLoss
from hw2.gradients import Place
from hw2.models.ema import moving
from hw2.personalize import concept_training, generating, prior
from hw2.personalize.custom_diffusion import (
    custom_diffusion_training,
    custom_inputs,
    detach_start_token,
    prior_latents,
    read_all,
    trained_deltas,
    write_deltas,
)
from hw2.personalize.deltas import (
    PROCESSOR,
    base_hash,
    cross_attention_weights,
    read_deltas,
)
from hw2.personalize.inversion import inversion_training
from hw2.personalize.report import report_training
from hw2.runlog.run_file import RUN_FILE
from hw2.runlog.tracker import Tracker
from hw2.settings.personalize import (
    CustomDiffusionConfig,
    PriorConfig,
    TextualInversionConfig,
)
from hw2.text2image.autoencoding import encode
from hw2.text2image.loading import load_stable_diffusion
from hw2.weights import save_weights
from tests.in_process import final, run_bare
from tests.personalize.small_input import SAMPLE, TRAIN, write_input
from tests.personalize.tiny import tiny_pipeline_folder

INPUTS = ("pipeline", "concept.0", "concept.1", "captions")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CustomDiffusionConfig:
    folder = tmp_path_factory.mktemp("custom")
    return CustomDiffusionConfig(
        out=folder / "unused",
        model=str(tiny_pipeline_folder(folder / "pipeline")),
        input=write_input(folder / "concepts"),
        sources=("0", "1"),
        templates=("plain_object",),
        prior=PriorConfig(num_pictures=3),
        train=TRAIN,
        sample=SAMPLE,
    )


def draw_prior(config: CustomDiffusionConfig, out: Path) -> list[str]:
    _, captions = custom_inputs(config)
    folder = out / prior.PRIOR
    work = generating.make_worker(config, {})(False)
    pieces = prior.pieces_to_draw(captions, folder, config.prior.pictures_per_chunk)
    assert sum(generating.write_pieces(map(work, pieces))) == len(captions)
    prior.write_captions(captions, folder)
    return captions


def test_actors_find_a_model_named_from_the_driver_s_folder(
    config: CustomDiffusionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(config.model).parent)
    near = config.model_copy(update={"model": Path(config.model).name})
    make = generating.make_worker(near, {})
    monkeypatch.chdir(tmp_path)  # as Ray's workers are elsewhere
    assert callable(make(False))


def test_workers_are_told_where_a_file_of_templates_is(
    config: CustomDiffusionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "mine.txt", "auto"):  # a set's name comes before a file's
        (tmp_path / name).write_text("a {}\n")
    given = ("mine", "mine.txt", "auto", "plain", "plain_style", "style.txt")
    there = config.model_copy(update={"templates": given}).absolute()
    files = (str(tmp_path / "mine"), str(tmp_path / "mine.txt"))
    assert there.templates == (*files, "auto", "plain", "plain_style", "style.txt")


def test_keys_values_and_rows_move_and_nothing_else(
    config: CustomDiffusionConfig, tmp_path: Path
) -> None:
    captions = draw_prior(config, tmp_path)
    assert captions == ["a photo of a cat", "a photo of cat", "a picture of cat"] * 2
    assert prior.pieces_to_draw(captions, tmp_path / prior.PRIOR, 25) == []
    (last,) = prior.pieces_to_draw(["a"] * 9, tmp_path / "none", 4)[2:]
    assert (last["first"], len(last["texts"]), len(last["paths"])) == (8, 1, 1)
    pieces = prior.pieces_to_draw(captions, tmp_path / "none", 4)
    assert [len(piece["texts"]) for piece in pieces] == [4, 2]
    training = custom_diffusion_training(config, tmp_path)
    run_bare(training)

    base = load_stable_diffusion(config.model)
    before = cross_attention_weights(base.unet)
    moved = {
        name
        for name, value in training.net.unet.state_dict().items()
        if not torch.equal(value, base.unet.state_dict()[name])
    }
    assert moved == set(before) and len(moved) == 8
    for name, value in training.net.text_encoder.state_dict().items():
        if not name.endswith("rows"):
            key = name.replace("token_embedding.table", "token_embedding")
            assert torch.equal(value, base.text_encoder.state_dict()[key]), name
    assert len(load_file(final(training))) == 2 * (len(moved) + 1)

    gone = config.model_copy(update={"model": "gone"})  # whole matrices want no base model
    assert write_deltas(gone, final(training), tmp_path) == 1.0
    weights = {name: p.detach() for name, p in before.items()}
    found = read_deltas(tmp_path, base_hash(base.unet, base.text_encoder), weights)
    learnt, kept = trained_deltas(final(training)), load_file(final(training))
    for name, weight in learnt.weights.items():
        assert torch.equal(weight, kept[f"ema.unet.{name}"])
        assert not torch.equal(weight, kept[f"net.unet.{name}"])
    assert list(found.rows) == ["<new1>", "<new2>"]
    assert all(torch.equal(found.weights[name], learnt.weights[name]) for name in weights)
    assert found.about["captions"][1][0] == "a photo of a <new2>"
    with pytest.raises(CheckpointError, match="another base model"):
        read_deltas(tmp_path, "0" * 64, weights)
    low = config.model_copy(update={"rank": 1})
    assert write_deltas(low, final(training), tmp_path / "low") < 1


def test_pictures_are_mirrored_where_the_settings_say_so(
    config: CustomDiffusionConfig, tmp_path: Path
) -> None:
    model = load_stable_diffusion(config.model)
    for flip in (True, False):
        asked = config.model_copy(update={"flip": flip})
        (concepts,) = custom_diffusion_training(asked, tmp_path, with_priors=False).source.groups
        for of, learnt in zip(concepts, read_all(config, model), strict=True):
            sides = [learnt.pictures, learnt.pictures.flip(-1)][: 1 + flip]
            latents = [encode(model.vae, side) * model.scaling_factor for side in sides]
            assert torch.equal(of.latents, torch.stack(latents, 1))


def test_the_error_is_measured_on_all_pictures_and_captions(
    config: CustomDiffusionConfig, tmp_path: Path
) -> None:
    training = custom_diffusion_training(config, tmp_path, with_priors=False)
    (concepts,) = training.source.groups
    assert training.evaluate.batch.shares.tolist() == [1.0] * 64
    latents, tokens, _ = (field.chunk(2) for field in training.evaluate.batch)
    for place, of in enumerate(concepts):
        assert torch.equal(latents[place].unique(dim=0), of.latents[:, 0].unique(dim=0))
        assert torch.equal(tokens[place].unique(dim=0), of.tokens.unique(dim=0))


def test_prior_of_a_given_folder_and_none(config: CustomDiffusionConfig, tmp_path: Path) -> None:
    draw_prior(config, tmp_path)
    given = PriorConfig(folder=tmp_path / prior.PRIOR, weight=3.0)
    hashes, captions = custom_inputs(config.model_copy(update={"prior": given}))
    assert captions == [] and set(hashes) == {*INPUTS, "prior"}
    for setting, shares in ((given, [0.5, 1.5]), (PriorConfig(weight=0.0), [1.0, 1.0])):
        training = custom_diffusion_training(config.model_copy(update={"prior": setting}), tmp_path)
        # A concept's picture and one of the classes, or two concepts'.
        assert training.source.batch(1, range(2), 2).shares.tolist() == shares


def test_pictures_of_a_given_folder_are_cut_and_turned_as_the_concepts(
    config: CustomDiffusionConfig, tmp_path: Path
) -> None:
    draw_prior(config, tmp_path)
    model, folder = load_stable_diffusion(config.model), tmp_path / prior.PRIOR
    given = config.model_copy(update={"prior": PriorConfig(folder=folder)})
    hashes = custom_inputs(given)[0]
    (latents,) = (of.latents for of in prior_latents(given, model, tmp_path))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for path in train_folder(folder).iterdir():
        square = np.asarray(Image.open(path))
        wide = np.zeros((16, 40, 3), np.uint8)
        wide[:, 12:28] = square
        Image.fromarray(np.rot90(wide)).save(path, exif=turned)
    assert custom_inputs(given)[0] == hashes
    assert torch.equal(prior_latents(given, model, tmp_path)[0].latents, latents)


def test_pictures_are_encoded_on_the_device_and_those_of_the_classes_for_the_training_alone(
    config: CustomDiffusionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_prior(config, tmp_path)
    counts: list[int] = []

    def encode(vae: AutoencoderKL, pictures: Tensor, advance: object) -> Tensor:
        assert vae.device.type == "meta"  # what is there has no numbers
        counts.append(len(pictures))
        return torch.zeros(len(pictures), 4, 8, 8)

    monkeypatch.setattr(concept_training, "encode", encode)
    device = torch.device("meta")
    for with_priors, want in ((True, [6, 6, 3, 3, 3, 3]), (False, [3, 3, 3, 3])):
        counts.clear()
        training = custom_diffusion_training(config, tmp_path, device, with_priors=with_priors)
        assert counts == want  # as they are, and mirrored
        assert len(training.source.groups) == 1 + with_priors
    counts.clear()
    inversion = TextualInversionConfig(
        out=tmp_path, model=config.model, input=config.input, templates="plain_object"
    )
    inversion_training(inversion, tmp_path, device)
    assert counts == [3, 3]


@pytest.mark.filterwarnings("ignore:.*to a meta parameter")
def test_the_report_is_made_on_the_device(
    config: CustomDiffusionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = custom_diffusion_training(config, tmp_path, with_priors=False)
    seen: list[str] = []

    def errors(_: FixedNoiseLoss, net: nn.Module, advance: object) -> Tensor:
        seen.append(next(net.parameters()).device.type)
        return torch.ones(4)

    monkeypatch.setattr(FixedNoiseLoss, "errors", errors)
    save_weights(final(training), {"ema": training.net}, {}, only=moving(training.net))
    tracker = create_autospec(Tracker, instance=True, out=tmp_path)
    report_training(training, tracker, device=torch.device("meta"))
    assert seen == ["meta", "meta"]


def test_a_training_is_told_its_device(
    config: CustomDiffusionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.device] = []

    def make(config: CustomDiffusionConfig, out: Path, device: torch.device) -> None:
        told.append(device)

    def run(training: object, place: Place, mirror: None) -> None:
        told.append(place.device)

    (tmp_path / RUN_FILE).write_text("the run")
    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(train, "own_device", lambda scaling: torch.device("meta"))
    tracker = create_autospec(Tracker, instance=True, out=tmp_path, mirror=None)
    here = config.model_copy(update={"scaling": ScalingConfig(num_workers=0, use_gpu=True)})
    train.run_training_on(make, here, "test", tracker)
    assert told == [torch.device("meta")] * 2


def test_two_concepts_of_one_token_are_refused(
    config: CustomDiffusionConfig, tmp_path: Path
) -> None:
    model = load_stable_diffusion(config.model)
    record = write_input(tmp_path)
    record.write_text(record.read_text().replace("<new2>", "<NEW1>"))
    other = config.model_copy(update={"input": record, "sources": ("0", "1")})
    with pytest.raises(ConfigError, match="sources 0 and 1 are both called <NEW1>: give each a"):
        read_all(other, model)
    renamed = other.model_copy(update={"token_names": ("<a>", "<b>")})
    assert [of.token for of in read_all(renamed, model)] == ["<a>", "<b>"]
    with pytest.raises(ConfigError, match=r"sources 0 and 1 are both called <a>: .*--token_names"):
        read_all(config.model_copy(update={"token_names": ("<a>", "<a>")}), model)


def test_each_concept_has_its_own_captions(config: CustomDiffusionConfig) -> None:
    other = config.model_copy(update={"templates": ("plain_object", "plain_style")})
    first, second = (
        learnt.captions for learnt in read_all(other, load_stable_diffusion(config.model))
    )
    assert first[0] == "a photo of a <new1>" and "in the style of <new2>" in second[0]
    for count in (0, 3):
        with pytest.raises(ValueError, match="templates"):
            CustomDiffusionConfig(
                out=Path("x"), sources=("0", "1"), templates=("plain_object",) * count
            )


@pytest.mark.parametrize("ours", [True, False])
def test_gradients_are_those_of_diffusers_processor(
    ours: bool, config: CustomDiffusionConfig
) -> None:
    unet, theirs = (load_stable_diffusion(config.model).unet for _ in range(2))
    if ours:
        detach_start_token(unet)
    processors = dict(theirs.attn_processors)
    for name in processors:
        if ".attn2." in name:
            attention = theirs.get_submodule(name.removesuffix(".processor"))
            wide, channels = attention.to_k.in_features, attention.to_k.out_features
            made = CustomDiffusionAttnProcessor(True, False, channels, wide)
            made.to_k_custom_diffusion.load_state_dict(attention.to_k.state_dict())
            made.to_v_custom_diffusion.load_state_dict(attention.to_v.state_dict())
            processors[name] = made
    theirs.set_attn_processor(processors)
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(2, unet.config.in_channels, 8, 8, generator=draw)
    text = torch.randn(2, 5, unet.config.cross_attention_dim, generator=draw)
    for net in (unet, theirs):
        net.requires_grad_(True)
        net(latents, torch.tensor([3, 7]), text).sample.square().mean().backward()
    found = cross_attention_weights(unet)
    want = {
        PROCESSOR.sub(r"\1.to_\2.weight", name): weight.grad
        for name, weight in theirs.named_parameters()
        if PROCESSOR.fullmatch(name)
    }
    assert found.keys() == want.keys()
    close = [torch.allclose(found[name].grad, want[name], rtol=1e-4, atol=1e-8) for name in found]
    assert all(close) if ours else not any(close)


@pytest.mark.parametrize("detached", [True, False])
def test_the_start_token_has_no_gradient_where_the_settings_say_so(
    detached: bool, config: CustomDiffusionConfig, tmp_path: Path
) -> None:
    asked = config.model_copy(update={"detach_start_token": detached})
    unet = custom_diffusion_training(asked, tmp_path, with_priors=False).net.unet
    for name in cross_attention_weights(unet):
        layer = unet.get_submodule(name.removesuffix(".weight"))
        text = torch.ones(1, 3, layer.in_features, requires_grad=True)
        (moved,) = torch.autograd.grad(layer(text).sum(), text)
        assert moved.any(2).tolist() == [[not detached, True, True]]
