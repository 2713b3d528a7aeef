"""What a picture depends on, what its frames are, and what it costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.testing import assert_close

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.schedule import cosine_schedule
from hw2.digits.drawing import DigitModel, check_strip, digit_model, draw, load_digit_model
from hw2.digits.folder import make_worker, pieces_to_draw
from hw2.digits.sweep import make_guidance_work
from hw2.errors import CheckpointError, ConfigError
from hw2.locate import find_model
from hw2.models.digit_unet import build_digit_unet
from hw2.precision import wants_bf16
from hw2.settings.data import DataConfig
from hw2.settings.digits import DiffusionConfig, NetworkConfig, SampleDigitsConfig, SampleSettings
from hw2.weights import save_weights
from tests.diffusion.test_samplers import counted_steps

NETWORK = NetworkConfig(channels=(64,), attention=(False,), patch=4)
DIFFUSION = DiffusionConfig(num_train_timesteps=40)
SETTINGS = SampleSettings(num_inference_steps=4)
EVERYWHERE = SampleSettings(num_inference_steps=4, guidance_interval=(0.0, 1.0))


@pytest.fixture(scope="module")
def model() -> DigitModel:
    return digit_model(build_digit_unet(NETWORK, 0).eval(), DIFFUSION)


class Spy(nn.Module):
    """A simple denoiser that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, xt: Tensor, t: Tensor, digit: Tensor, domain: Tensor) -> Tensor:
        self.calls.append((xt.clone(), t, digit, domain))
        return 0.5 * xt + 0.02 * (digit - 5 * domain).view(-1, 1, 1, 1)


def spied(null_domain: int | None = 2) -> tuple[DigitModel, Spy]:
    spy = Spy()
    return DigitModel(spy, cosine_schedule(40), "epsilon", 10, null_domain, 8), spy


def test_the_same_again_and_another_for_each_part_of_the_key(model: DigitModel) -> None:
    first = draw(model, SETTINGS, domain=0, indices=[1, 2], seed=0).images
    assert first.shape == (10, 2, 3, 28, 28) and first.dtype == torch.uint8
    assert torch.equal(first, draw(model, SETTINGS, domain=0, indices=[1, 2], seed=0).images)
    for change in ({"seed": 1}, {"domain": 1}, {"indices": [3, 4]}):
        arguments: dict[str, Any] = {"domain": 0, "indices": [1, 2], "seed": 0} | change
        other = draw(model, SETTINGS, **arguments).images
        assert all(not torch.equal(first[d, i], other[d, i]) for d in range(10) for i in range(2))
    pictures = first.flatten(0, 1)
    assert len({picture.numpy().tobytes() for picture in pictures}) == 20


@pytest.mark.parametrize("settings", [SETTINGS, SampleSettings(num_inference_steps=4, eta=1.0)])
def test_other_indices_drawn_beside_it_do_not_matter(
    model: DigitModel, settings: SampleSettings
) -> None:
    many = draw(model, settings, domain=1, indices=[5, 6, 7], seed=0).images
    alone = draw(model, settings, domain=1, indices=[7], seed=0).images
    # Another batch size moves the last bits of a convolution, seldom over a rounding edge.
    assert_close(many[:, 2:].int(), alone.int(), rtol=0, atol=1)
    assert float((many[:, 2:] != alone).float().mean()) < 0.01


def saved(weights: Path, seed: int = 0) -> Path:
    """A model that was not trained, in the file `weights`."""
    meta = {
        "kind": "digit_ddpm",
        "network": NETWORK.model_dump(mode="json"),
        "diffusion": DIFFUSION.model_dump(mode="json"),
    }
    save_weights(weights, {"ema": build_digit_unet(NETWORK, seed)}, meta)
    return weights


def test_a_model_that_was_replaced_draws_nothing(tmp_path: Path) -> None:
    """What it drew stood under the hash of the former."""
    weights = saved(tmp_path / "final.safetensors")
    judge = find_model("asset:judge")
    makers = [
        make_worker(SampleDigitsConfig(out=tmp_path / "out"), weights),
        make_guidance_work(weights, judge, DataConfig(root=tmp_path), SampleSettings(), 0),
    ]
    saved(weights, seed=1)
    for make in makers:
        with pytest.raises(CheckpointError, match=r"final.safetensors: was replaced while the"):
            make(False)


def test_bytes_do_not_depend_on_how_many_are_wanted(tmp_path: Path) -> None:
    """Chunks are always drawn in full: the bytes are equal, not only close."""
    weights = saved(tmp_path / "final.safetensors")

    def pictures(num_per_class: int) -> dict[tuple[str, int, int], bytes]:
        config = SampleDigitsConfig(
            out=tmp_path / "out",
            num_per_class=num_per_class,
            indices_per_chunk=2,
            num_inference_steps=3,
            eta=1.0,
        )
        pieces, _ = pieces_to_draw(config, tmp_path / "out")
        work, found = make_worker(config, weights)(False), {}
        for piece in reversed(pieces):  # nor on the order of work
            result = work(piece)
            for digit in range(10):
                for offset in range(piece["wanted"]):
                    key = (piece["domain"], digit, piece["first"] + offset)
                    found[key] = np.asarray(result["images"])[digit, offset].tobytes()
        return found

    few, many = pictures(1), pictures(5)
    assert len(few) == 20 and len(many) == len(set(many.values())) == 100
    assert all(many[key] == value for key, value in few.items())


def test_columns_share_their_noise_and_rows_are_digits() -> None:
    model, spy = spied()
    draw(model, EVERYWHERE, domain=1, indices=[3, 9], seed=7)
    xt, t, digit, domain = spy.calls[0]
    start = CounterRandom(7, 0, [3, 9]).normal(Stream.START, 3, 8, 8)
    # Two indices of each of ten digits, first with labels, then without.
    assert_close(xt.view(2, 10, 2, 3, 8, 8), start.expand(2, 10, 2, 3, 8, 8), rtol=0, atol=0)
    assert t.tolist() == [39] * 40
    assert digit.tolist() == [d for d in range(10) for _ in range(2)] + [10] * 20
    assert domain.tolist() == [1] * 20 + [2] * 20


def test_columns_share_their_fresh_noise() -> None:
    model, spy = spied()
    settings = SampleSettings(
        sampler="ddpm", num_inference_steps=40, guidance_weight=0, clip_x0=False
    )
    draw(model, settings, domain=0, indices=[1, 2], seed=0)
    # The spy is linear and its labels add the same to both pictures of a digit.
    differences = spy.calls[-1][0].view(10, 2, 3, 8, 8).diff(dim=1)
    scale = float(differences.abs().max())
    assert_close(differences / scale, (differences[:1] / scale).expand_as(differences))


def test_fresh_noise_is_the_timestep_s_and_as_much_as_eta_says() -> None:
    """Each state is that of diffusers' scheduler, given the noise of its timestep."""
    model, spy = spied()
    settings = SampleSettings(num_inference_steps=4, eta=1.0, guidance_weight=0)
    draw(model, settings, domain=0, indices=[3, 9], seed=7)
    scheduler = DDIMScheduler(
        40, trained_betas=model.schedule.betas.tolist(), timestep_spacing="trailing"
    )
    scheduler.set_timesteps(4)
    for before, after, t in zip(spy.calls[:3], spy.calls[1:], (39, 29, 19), strict=True):
        noise = CounterRandom(7, t, [3, 9]).normal(Stream.ANCESTRAL, 3, 8, 8).repeat(10, 1, 1, 1)
        said = {"eta": 1.0, "use_clipped_model_output": True, "variance_noise": noise}
        expected = scheduler.step(Spy()(*before), t, before[0], **said).prev_sample
        assert_close(after[0], expected, rtol=0, atol=1e-4)


def test_a_model_that_never_dropped_the_domain_keeps_it() -> None:
    net = build_digit_unet(NETWORK, 0)
    for drop, null_domain in (("joint", 2), ("separate", 2), ("digit", None)):
        diffusion = DiffusionConfig(drop=drop)  # type: ignore[arg-type]
        assert digit_model(net, diffusion).null_domain == null_domain
    model, spy = spied(null_domain=None)
    draw(model, EVERYWHERE, domain=1, indices=[1], seed=0)
    assert spy.calls[0][3].tolist() == [1] * 20


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp", "unipc"])
def test_frames_go_from_noise_to_the_first_picture(sampler: str) -> None:
    model, _ = spied()
    count = 40 if sampler == "ddpm" else 7
    settings = SampleSettings(sampler=sampler, num_inference_steps=count)  # type: ignore[arg-type]
    drawn = draw(model, settings, domain=0, indices=[4, 5], seed=0)
    assert len(drawn.frames) == len(drawn.frame_levels) == count + 1
    assert drawn.frame_levels[0] == 40 and drawn.frame_levels[-1] == 0
    assert list(drawn.frame_levels) == sorted(set(drawn.frame_levels), reverse=True)
    noise = CounterRandom(0, 0, [4]).normal(Stream.START, 3, 8, 8)[0].clamp(-1, 1)
    assert_close(drawn.frames[0].float() / 127.5 - 1, noise, rtol=0, atol=0.005)
    assert torch.equal(drawn.frames[-1], drawn.images[0, 0])


def test_frames_do_not_keep_the_pictures_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = list[int]()
    monkeypatch.setattr("hw2.digits.drawing.sample", lambda *_, **__: counted_steps(alive))
    drawn = draw(spied()[0], SETTINGS, domain=0, indices=[1], seed=0)
    assert len(drawn.frames) == 6 and max(alive) == 1


def test_a_strip_shows_what_the_sampler_passes_or_is_refused() -> None:
    def check(*wanted: int, steps: int = 10) -> None:
        config = SampleDigitsConfig(
            out=Path("out"), num_inference_steps=steps, strip_timesteps=wanted
        )
        check_strip(config, 1000)

    check(1000, 800, 600, 400, 200, 0)
    check(250, 200, 150, 100, 50, 0, steps=20)
    with pytest.raises(ConfigError, match=r"strip_timesteps=5000: use 0 \.\. 1000"):
        check(5000)
    with pytest.raises(ConfigError, match=r"strip_timesteps=250: .* nearest are 300 and 200"):
        check(250, 200, 150, 100, 50, 0)
    for wanted in ((200, 200), ()):
        with pytest.raises(ValueError, match="strip_timesteps"):
            check(*wanted)


def test_the_number_format_is_that_of_the_settings(model: DigitModel) -> None:
    """On one processor "auto" is one of the two, and the other one draws other bits."""
    drawn = {
        precision: draw(
            model,
            SETTINGS.model_copy(update={"precision": precision}),
            domain=1,
            indices=[3],
            seed=7,
        ).images
        for precision in ("auto", "fp32", "bf16")
    }
    native = "bf16" if wants_bf16("auto", model.device) else "fp32"
    assert torch.equal(drawn["auto"], drawn[native])
    assert not torch.equal(drawn["fp32"], drawn["bf16"])


def test_network_calls_a_picture() -> None:
    def calls(**settings: Any) -> tuple[int, int, int]:
        model, spy = spied()
        always = {"num_inference_steps": 10, "guidance_interval": (0.0, 1.0)}
        chosen = SampleSettings(**always | settings)
        drawn = draw(model, chosen, domain=0, indices=[1], seed=0)
        return drawn.num_network_calls, len(spy.calls), sum(len(c[0]) for c in spy.calls) // 10

    assert calls() == (20, 10, 20)
    assert calls(guidance_weight=0) == (10, 10, 10)
    # Levels 40, 36, .. 4 of 40: five of ten in the interval.
    assert calls(guidance_interval=(0.25, 0.75)) == (15, 10, 15)
    assert calls(sampler="ddpm", num_inference_steps=40) == (80, 40, 80)
    assert calls(sampler="unipc") == calls(sampler="dpmpp") == (20, 10, 20)


def test_a_picture_is_mapped_to_bytes_without_stretching() -> None:
    model, _ = spied()

    class Grey(Spy):
        """Says that all of xt is noise but a grey of -0.5."""

        def forward(self, xt: Tensor, t: Tensor, digit: Tensor, domain: Tensor) -> Tensor:
            a, s = model.schedule.signal_and_noise(t, xt)
            return (xt - a * -0.5) / s

    grey = DigitModel(Grey(), model.schedule, "epsilon", 10, 2, 8)
    images = draw(grey, SETTINGS, domain=0, indices=[1], seed=0).images
    assert_close(images.float(), torch.full((10, 1, 3, 8, 8), 63.75), rtol=0, atol=0.5)


def test_loading_a_model(tmp_path: Path) -> None:
    path, net, ema = tmp_path / "m.safetensors", *(build_digit_unet(NETWORK, s) for s in (0, 1))
    config = DiffusionConfig(schedule="linear", num_train_timesteps=50, drop="digit")
    meta = {"network": NETWORK.model_dump(), "diffusion": config.model_dump()}
    save_weights(path, {"net": net, "ema": ema}, {"kind": "digit_ddpm", **meta})
    loaded = load_digit_model(path)
    assert not loaded.net.training and loaded.null_domain is None and loaded.null_digit == 10
    assert loaded.schedule.num_train_timesteps == 50 and loaded.image_size == 28
    for name, value in ema.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], value)
    as_trained = load_digit_model(path, averaged=False).net.state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(as_trained[name], value)
    save_weights(path, {"ema": ema}, {"kind": "digit_ddpm", **meta})
    with pytest.raises(CheckpointError, match="has averaged weights alone, none as trained"):
        load_digit_model(path, averaged=False)
    save_weights(path, {"ema": ema}, {"kind": "judge"})
    with pytest.raises(CheckpointError, match="holds no digit model; train one with"):
        load_digit_model(path)


def test_pictures_that_are_no_numbers_are_not_kept() -> None:
    huge = SETTINGS.model_copy(update={"guidance_weight": 1e300})
    with pytest.raises(ConfigError, match=r"^guidance_weight=1e\+300: .* take a smaller"):
        draw(spied()[0], huge, domain=0, indices=[1], seed=0)
