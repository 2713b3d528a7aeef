"""Our drawing against diffusers' pipeline, from the same noise."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.schedulers import scheduling_ddim
from torch import Tensor, nn

from hw2.config import load
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import ConfigError
from hw2.settings.personalize import GenerateConceptsConfig
from hw2.settings.text2image import DrawSettings
from hw2.text2image.drawing import draw
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.model import StableDiffusion
from tests.personalize.tiny import tiny_pipeline_folder

PROMPTS = ("a photo of a red car", "a painting of a dog")
SETTINGS = DrawSettings(
    sampler="ddim", num_inference_steps=5, guidance_weight=3.0, precision="fp32"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline_folder(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture(scope="module")
def model(folder: Path) -> StableDiffusion:
    return load_stable_diffusion(str(folder))


@pytest.mark.parametrize("negative", ["", "a cup"])
@pytest.mark.parametrize(("w", "eta"), [(0.0, 0.0), (3.0, 0.0), (3.0, 0.5)])
def test_equals_diffusers_pipeline(
    folder: Path,
    model: StableDiffusion,
    w: float,
    eta: float,
    negative: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"guidance_weight": w, "eta": eta, "negative_prompt": negative}
    settings = SETTINGS.model_copy(update=changes)
    ours = draw(model, PROMPTS, settings, indices=[4, 7], seed=3)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True
    )
    fresh = (
        CounterRandom(3, t, [4, 7]).normal(Stream.ANCESTRAL, *model.latent_shape)
        for t in (999, 799, 599, 399, 199)
    )
    monkeypatch.setattr(scheduling_ddim, "randn_tensor", lambda *_, **__: next(fresh))
    theirs = pipeline(
        list(PROMPTS),
        negative_prompt=[negative] * 2,
        latents=CounterRandom(3, 0, [4, 7]).normal(Stream.START, *model.latent_shape),
        num_inference_steps=5,
        guidance_scale=1 + w,
        eta=eta,
        output_type="pt",
    ).images
    difference = (ours.float() - 255 * theirs).abs()
    assert float(difference.max()) < 0.6  # of 255: theirs is not rounded
    assert float(theirs.std()) > 0.01


def test_guidance_acts_in_its_interval_alone(model: StableDiffusion) -> None:
    rows: list[int] = []

    def count(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows.append(len(given[0]))

    settings = SETTINGS.model_copy(update={"guidance_interval": (0.5, 1.0)})
    with model.unet.register_forward_pre_hook(count):
        draw(model, PROMPTS, settings, indices=[0, 1], seed=0)
    assert rows == [4, 4, 4, 2, 2]  # at the levels 1000, 800, .. 200 of 1000


def test_noise_belongs_to_the_index(model: StableDiffusion) -> None:
    together = draw(model, PROMPTS, SETTINGS, indices=[0, 1], seed=0)
    alone = draw(model, PROMPTS[1:], SETTINGS, indices=[1], seed=0)
    assert float((together[1:].float() - alone.float()).abs().max()) <= 1
    other = draw(model, PROMPTS[1:], SETTINGS, indices=[2], seed=0)
    assert not torch.equal(alone, other)


def test_pictures_that_are_no_numbers_are_refused(model: StableDiffusion) -> None:
    settings = SETTINGS.model_copy(update={"guidance_weight": 1e38})
    with pytest.raises(ConfigError, match=r"^guidance_weight=1e\+38: some drawn pixels are nan or"):
        draw(model, PROMPTS, settings, indices=[0, 1], seed=0)


def test_a_falling_interval_is_refused_before_the_job_starts() -> None:
    words = ["--out", "x", "--guidance_interval", "0.5,0.2"]
    with pytest.raises(ConfigError, match=r"guidance_interval=.*want the lower share first"):
        load(GenerateConceptsConfig, words, prog="job", description="")
