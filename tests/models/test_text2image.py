"""The small Stable Diffusion's networks: how they start, and that they are what settings say."""

from collections.abc import Callable

import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from transformers import CLIPTextConfig

from hw2.models.text2image import (
    Text2Image,
    build_autoencoder,
    build_latent_unet,
    build_text_encoder,
)
from hw2.settings.text2image import AutoencoderConfig, LatentUNetConfig, TextEncoderConfig

TEXT = TextEncoderConfig(context_length=8, width=32, heads=2, layers=3)
LATENT = LatentUNetConfig(channels=(16, 32, 64), layers=2, heads=4)


def autoencoder(seed: int) -> nn.Module:
    return build_autoencoder(AutoencoderConfig(channels=(16, 32), layers=2), 16, seed)


def text_encoder(seed: int) -> nn.Module:
    return build_text_encoder(TEXT, 50, seed)


def unet(seed: int) -> nn.Module:
    return build_latent_unet(LATENT, 4, 8, TEXT.width, seed)


@pytest.mark.parametrize("build", [autoencoder, text_encoder, unet])
def test_initial_weights_depend_on_the_seed_alone(build: Callable[[int], nn.Module]) -> None:
    before = torch.get_rng_state()
    one, other = build(1).state_dict(), build(2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    again = build(1).state_dict()
    assert all(torch.equal(again[name], value) for name, value in one.items())
    random = [name for name, value in one.items() if value.is_floating_point() and value.std() > 0]
    assert random and not any(torch.equal(other[name], one[name]) for name in random)


@torch.no_grad()
def test_a_fresh_autoencoders_branches_are_silent_and_its_trunk_keeps_sizes() -> None:
    generator, silent, sizes = torch.Generator().manual_seed(0), 0, []
    for name, module in autoencoder(0).named_modules():
        if isinstance(module, Attention):
            x = torch.randn(2, module.to_q.in_features, 8, 8, generator=generator)
            assert torch.equal(module(x), x)
            silent += 1
        elif isinstance(module, ResnetBlock2D) and module.in_channels == module.out_channels:
            x = torch.randn(2, module.in_channels, 8, 8, generator=generator)
            assert torch.equal(module(x, None), x)
            silent += 1
        elif isinstance(module, nn.Conv2d) and "conv_shortcut" in name:
            x = torch.randn(8, module.in_channels, 16, 16, generator=generator)
            sizes.append(float(module(x).std()))
    # Two and three layers a level, of which one changes the width in each half; the middles.
    assert silent == (2 * 2 - 1) + (2 * 3 - 1) + 2 * 3
    assert sizes == pytest.approx([1] * 2, abs=0.15)


def test_the_text_encoder_at_clips_size_is_clips() -> None:
    """But for the padding, which CLIP's own tokenizer makes of ends."""
    settings = TextEncoderConfig(context_length=77, width=512, heads=8, layers=12)
    with torch.device("meta"):
        found = build_text_encoder(settings, 49_408, 0).config.to_dict()
    clips = CLIPTextConfig(projection_dim=512, pad_token_id=49_407).to_dict()
    assert {name for name in clips if found[name] != clips[name]} <= {"architectures", "dtype"}


def test_the_denoiser_reads_the_text_at_all_levels_but_the_first() -> None:
    """With as many heads as the settings say, in each layer."""
    net = unet(0)
    attentions = [module for module in net.modules() if isinstance(module, Attention)]
    assert {of.heads for of in attentions} == {LATENT.heads}
    crossed = [name for name, of in net.named_modules() if name.endswith("attn2")]
    # Two layers on the way down, three on the way up, and one in the middle.
    assert len(crossed) == 2 * (2 + 3) + 1
    assert not [name for name in crossed if name.startswith(("down_blocks.0.", "up_blocks.2."))]


@torch.no_grad()
def test_the_denoiser_is_told_what_diffusers_pipelines_tell_it() -> None:
    """Their `encode_prompt` gives the text encoder's first output."""
    net, encoder, generator = unet(0), text_encoder(0), torch.Generator().manual_seed(0)
    latents, t = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([3, 700])
    tokens = torch.randint(48, (2, 8), generator=generator)
    said = net(latents, t, encoder_hidden_states=encoder(tokens)[0]).sample
    assert torch.equal(Text2Image(net, encoder)(latents, t, tokens), said)
    assert not torch.equal(Text2Image(net, encoder)(latents, t, tokens.flip(1)), said)
