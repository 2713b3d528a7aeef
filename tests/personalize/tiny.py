"""A Stable Diffusion 1.x pipeline of random weights, small enough to be made in a test."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from hw2.diffusion.schedule import linear_schedule
from hw2.models.text2image import build_autoencoder, build_latent_unet, build_text_encoder
from hw2.personalize.deltas import Deltas, base_hash, cross_attention_weights
from hw2.settings.text2image import AutoencoderConfig, LatentUNetConfig, TextEncoderConfig
from hw2.text2image.export import write_pipeline
from hw2.text2image.model import StableDiffusion
from hw2.text2image.vocabulary import small_tokenizer

CAPTIONS = (
    "a photo of a red car on the street",
    "a painting of a dog in the style of a cup",
    "motorcycle helmet next to a cat",
)
CONTEXT, WIDTH = 24, 32


def tiny_model(seed: int = 0) -> StableDiffusion:
    """16x16 pictures, latents (4, 8, 8), text (24, 32), four layers with cross-attention."""
    tokenizer = small_tokenizer(CAPTIONS, 100, CONTEXT)
    text = TextEncoderConfig(context_length=CONTEXT, width=WIDTH, heads=2, layers=1)
    return StableDiffusion(
        unet=build_latent_unet(LatentUNetConfig(channels=(16, 32), heads=2), 4, 8, WIDTH, seed),
        text_encoder=build_text_encoder(text, len(tokenizer), seed),
        tokenizer=tokenizer,
        vae=build_autoencoder(AutoencoderConfig(channels=(8, 16)), 16, seed),
        schedule=linear_schedule(1000),
        prediction_type="epsilon",
        scaling_factor=0.5,
    )


def learnt(model: StableDiffusion, token: str, seed: int) -> Deltas:
    """As if `token` was learnt by Custom Diffusion: random weights and row, and two captions."""
    random = torch.Generator().manual_seed(seed)
    weights = {
        name: p.detach() + 0.1 * torch.randn(p.shape, generator=random)
        for name, p in cross_attention_weights(model.unet).items()
    }
    row = torch.randn(model.text_width, generator=random)
    about = {"captions": [[f"a photo of a {token}", f"{token} on the street"]]}
    return Deltas(base_hash(model.unet, model.text_encoder), weights, {token: row}, about)


def tiny_pipeline_folder(path: Path) -> Path:
    """Write such a pipeline, its weights in half precision as safetensors, to `path`."""
    write_pipeline(tiny_model(), path)
    return path


def predicted(unet: UNet2DConditionModel) -> Tensor:
    """What the denoiser says of three latents and texts at random, the same in each call."""
    draw = torch.Generator().manual_seed(2)
    latents = torch.randn(3, 4, 8, 8, generator=draw)
    text = torch.randn(3, 5, WIDTH, generator=draw)
    with torch.no_grad():
        return unet(latents, torch.tensor([0, 400, 999]), text).sample
