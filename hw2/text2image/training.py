"""The training of a small text-to-image model put together."""

from functools import partial
from pathlib import Path

import torch
from PIL import Image

from hw2.data.batches import Shuffled
from hw2.diffusion.schedule import scaled_linear_schedule
from hw2.events import Saved
from hw2.figures.grid import sheet
from hw2.fixed_noise import FixedNoiseLoss
from hw2.metrics.intervals import Interval, bootstrap
from hw2.models.text2image import Text2Image, build_latent_unet, build_text_encoder
from hw2.settings.text2image import TrainText2ImageConfig
from hw2.text2image.autoencoder_training import num_trained
from hw2.text2image.denoising import LatentObjective, fixed_noise_loss
from hw2.text2image.drawing import draw
from hw2.text2image.latents import LatentPictures, read_latents
from hw2.text2image.model import StableDiffusion, tokens_of
from hw2.training import Training
from hw2.weights import load_weights

PICTURES_A_PROMPT = 4
PROMPTS = 10


def drawn_sheet(
    config: TrainText2ImageConfig, pictures: LatentPictures, saved: Saved
) -> Image.Image:
    """Pictures of a few held-out captions, drawn from the averaged weights."""
    assert isinstance(saved.ema, Text2Image)
    model = assembled(saved.ema, pictures, config).to(next(saved.ema.parameters()).device)
    settings, captions = config.sample, pictures.captions
    captions = captions[num_trained(len(captions)) :][:PROMPTS]
    rows = [
        draw(model, captions, settings, indices=range(len(captions)), seed=seed)
        for seed in range(config.seed, config.seed + PICTURES_A_PROMPT)
    ]
    title = f"step {saved.step}, w={settings.guidance_weight:g}"
    return sheet(torch.stack(rows, 1), captions, title=title)


def build_text2image(config: TrainText2ImageConfig, pictures: LatentPictures) -> Text2Image:
    """The fresh network of `config`, whose weights depend on its seed alone."""
    _, channels, side, _ = pictures.latents.shape
    unet = build_latent_unet(config.network, channels, side, config.text.width, config.seed)
    return Text2Image(unet, build_text_encoder(config.text, len(pictures.tokenizer), config.seed))


def assembled(
    net: Text2Image, pictures: LatentPictures, config: TrainText2ImageConfig
) -> StableDiffusion:
    """`net` with its autoencoder and tokenizer, to draw with."""
    return StableDiffusion(
        net.unet,
        net.text_encoder,
        pictures.tokenizer,
        pictures.vae,
        scaled_linear_schedule(config.num_train_timesteps),
        config.prediction_type,
        pictures.scaling_factor,
    )


def latent_objective(config: TrainText2ImageConfig, pictures: LatentPictures) -> LatentObjective:
    """What `config` minimises."""
    return LatentObjective(
        scaled_linear_schedule(config.num_train_timesteps),
        config.prediction_type,
        config.min_snr_gamma,
        config.timesteps,
        caption_dropout=config.caption_dropout,
        empty=tokens_of(pictures.tokenizer, [""])[0],
    )


def held_out_loss(config: TrainText2ImageConfig, pictures: LatentPictures) -> FixedNoiseLoss:
    """The objective on the pictures that are not trained on."""
    return fixed_noise_loss(latent_objective(config, pictures), pictures.split()[1], config.seed)


def text2image_training(config: TrainText2ImageConfig, out: Path, autoencoder: Path) -> Training:
    """The training that `config` describes, with results in `out`."""
    pictures = read_latents(config, autoencoder, out)
    return Training(
        net=build_text2image(config, pictures),
        objective=latent_objective(config, pictures),
        source=Shuffled(pictures.split()[0], config.seed),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={
            "kind": "text2image",
            "network": config.network.model_dump(mode="json"),
            "text": config.text.model_dump(mode="json"),
            "num_train_timesteps": config.num_train_timesteps,
            "prediction_type": config.prediction_type,
            "autoencoder_hash": pictures.autoencoder_hash,
            "data_hash": pictures.data_hash,
            "seed": config.seed,
        },
        evaluate=held_out_loss(config, pictures),
        show=partial(drawn_sheet, config, pictures),
    )


def finished(
    config: TrainText2ImageConfig,
    autoencoder: Path,
    out: Path,
    weights: Path,
    device: torch.device,
) -> tuple[StableDiffusion, Interval]:
    """The averaged weights of a finished training as a model, and its held-out loss."""
    pictures = read_latents(config, autoencoder, out)
    net = build_text2image(config, pictures)
    load_weights(weights, net, "ema")
    errors = held_out_loss(config, pictures).errors(net.eval().to(device))
    loss = bootstrap(errors, seed=config.seed)
    return assembled(net.cpu(), pictures, config), loss
