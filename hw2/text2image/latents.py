"""The pictures of a data tree as an autoencoder's latents, encoded once a run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from hw2.data.captions import CaptionSet
from hw2.data.files import as_umask, replacing, sha256_of
from hw2.progress import progress
from hw2.settings.text2image import TrainText2ImageConfig
from hw2.text2image.autoencoder_training import load_autoencoder, num_trained, read_for
from hw2.text2image.autoencoding import encode
from hw2.text2image.denoising import LatentBatch
from hw2.text2image.model import tokens_of
from hw2.text2image.vocabulary import small_tokenizer
from hw2.weights import told_if_refused

LATENTS = "latents.safetensors"


@dataclass(frozen=True)
class LatentPictures:
    """Latents scaled to a standard deviation of 1, their captions, and what made them."""

    latents: Float[Tensor, "n c h w"]
    tokens: Int64[Tensor, "n k"]
    captions: tuple[str, ...]
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    scaling_factor: float
    data_hash: str
    autoencoder_hash: str

    def split(self) -> tuple[LatentBatch, LatentBatch]:
        """Those to train on, and those held out; all count alike."""
        kept = num_trained(len(self.tokens))
        whole = self.latents, self.tokens, torch.ones(len(self.tokens))
        trained = LatentBatch(*(field[:kept] for field in whole))
        return trained, LatentBatch(*(field[kept:] for field in whole))

    def lengths(self) -> list[int]:
        """Tokens of each caption with start and end, before they were cut at the context."""
        return [len(ids) for ids in self.tokenizer(list(self.captions), verbose=False).input_ids]


def read_latents(config: TrainText2ImageConfig, autoencoder: Path, out: Path) -> LatentPictures:
    """The latents of the data tree, from `out` where they are, else encoded and written there.

    The factor that scales them is one over their standard deviation (Rombach et al. 2022, app. G).
    """
    vae, autoencoder_hash = load_autoencoder(autoencoder), sha256_of(autoencoder)
    pictures = read_for(autoencoder, config.data)
    made_of = f"{autoencoder_hash} {pictures.content_hash}"
    values = _kept(out / LATENTS, made_of)
    if values is None:
        values = _encoded(vae, pictures)
        # By names that differ: workers that miss the file may write it at the same time.
        with told_if_refused(out / LATENTS), replacing(out / LATENTS) as passing:
            save_file({"latents": values}, passing, metadata={"made_of": made_of})
            as_umask(passing)
    tokenizer = small_tokenizer(pictures.captions, config.text.merges, config.text.context_length)
    factor = 1 / float(values.std())
    return LatentPictures(
        values * factor,
        tokens_of(tokenizer, pictures.captions),
        pictures.captions,
        tokenizer,
        vae,
        factor,
        pictures.content_hash,
        autoencoder_hash,
    )


def _kept(file: Path, made_of: str) -> Tensor | None:
    try:
        with safe_open(file, framework="pt") as reader:
            if (reader.metadata() or {}).get("made_of") == made_of:
                return reader.get_tensor("latents")
    except (OSError, SafetensorError):
        pass
    return None


def _encoded(vae: AutoencoderKL, pictures: CaptionSet) -> Tensor:
    with progress(len(pictures.images), "encoding", "pictures") as bar:
        return encode(vae, pictures.images, bar.advance).contiguous()
