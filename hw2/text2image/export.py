"""Writing a model as a folder that diffusers loads."""

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from hw2.data.replacing import whole_folder
from hw2.diffusion.schedule import BETA_END, BETA_START
from hw2.text2image.loading import be_quiet
from hw2.text2image.model import StableDiffusion


def write_pipeline(model: StableDiffusion, folder: Path) -> None:
    """A StableDiffusionPipeline without safety checker, its weights in half precision.

    `model` itself is converted. The folder appears whole or not at all; one there is replaced.
    """
    be_quiet()
    model.vae.register_to_config(scaling_factor=model.scaling_factor)
    pipeline = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=DDIMScheduler(
            num_train_timesteps=model.schedule.num_train_timesteps,
            beta_start=BETA_START,
            beta_end=BETA_END,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=model.prediction_type,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    with whole_folder(folder) as part:
        pipeline.save_pretrained(part)
        for config in part.rglob("config.json"):
            # diffusers and transformers write where the parts were loaded from.
            about = json.loads(config.read_text())
            about.pop("_name_or_path", None)
            config.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
