"""The training of the autoencoder put together: pictures, network, what is measured and shown."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from hw2.data.batches import Shuffled
from hw2.data.captions import CaptionSet, read_captions, text2image_folder
from hw2.diffusion.objective import PictureBatch
from hw2.errors import CheckpointError, DataError
from hw2.events import Saved
from hw2.figures.grid import sheet
from hw2.locate import find_model
from hw2.metrics.intervals import Interval, bootstrap
from hw2.models.text2image import build_autoencoder
from hw2.pixels import to_unit
from hw2.settings.data import DataConfig
from hw2.settings.text2image import AutoencoderConfig, TrainAutoencoderConfig
from hw2.text2image.autoencoding import Autoencoding, AutoencodingObjective, decode, encode
from hw2.training import Training
from hw2.weights import load_claimed, read_meta

NUM_HELD_OUT = 200  # of the pictures, the last ones, which are not trained on
SHARE = 10  # one of so many is held out
COLUMNS = 10
MAX_SIDE = 4096


def read_text2image(data: DataConfig, image_size: int) -> CaptionSet:
    """The captioned pictures of the data tree; DataError if they are too few to hold some out."""
    folder = text2image_folder(data.root)
    pictures = read_captions(folder, image_size, skip_bad=data.skip_bad)
    if (count := len(pictures.images)) == num_trained(count):
        raise DataError(
            f"{folder}: {count} pictures; a tenth is held out to measure on, "
            f"which takes {SHARE} at least"
        )
    return pictures


def read_for(autoencoder: Path, data: DataConfig) -> CaptionSet:
    """The same, in the size of the autoencoder with weights `autoencoder`."""
    return read_text2image(data, image_size_of(autoencoder))


def num_trained(count: int) -> int:
    """How many of `count` pictures are trained on, the first ones; the others are measured on."""
    return count - min(NUM_HELD_OUT, count // SHARE)


@torch.no_grad()
def reconstruction_errors(vae: AutoencoderKL, pictures: UInt8[Tensor, "n 3 h w"]) -> Tensor:
    """Root mean squared error of each picture, (n,), of 255."""
    drawn = decode(vae, encode(vae, pictures)).clamp(-1, 1).cpu()
    return 127.5 * (drawn - to_unit(pictures)).square().mean((1, 2, 3)).sqrt()


@dataclass
class Reconstruction:
    """The error on held-out pictures, and a sheet of the first ones above what became of them."""

    pictures: UInt8[Tensor, "n 3 h w"]

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """`eval/loss`: the mean over pictures of the root mean squared error, of 255."""
        return {"eval/loss": float(reconstruction_errors(net.vae, self.pictures).mean())}

    def show(self, saved: Saved) -> Image.Image:
        """The sheet."""
        columns = min(COLUMNS, len(self.pictures))
        first = self.pictures[: min(2, len(self.pictures) // columns) * columns]
        drawn = decode(saved.ema.vae, encode(saved.ema.vae, first)).clamp(-1, 1).cpu()
        rows = torch.stack([to_unit(first), drawn]).unflatten(1, (-1, columns))
        title = f"step {saved.step}: pictures, and what the autoencoder makes of them"
        return sheet(rows.transpose(0, 1).flatten(0, 1), title=title)


def autoencoder_training(config: TrainAutoencoderConfig, out: Path) -> Training:
    """The training that `config` describes, with results in `out`."""
    pictures = read_text2image(config.data, config.image_size)
    kept = num_trained(len(pictures.images))
    side = config.image_size // 2 ** (len(config.network.channels) - 1)
    measure = Reconstruction(pictures.images[kept:])
    return Training(
        net=Autoencoding(build_autoencoder(config.network, config.image_size, config.seed)),
        objective=AutoencodingObjective(
            (config.network.latent_channels, side, side), config.kl_weight
        ),
        source=Shuffled(PictureBatch(pictures.images[:kept]), config.seed),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={
            "kind": "autoencoder",
            "network": config.network.model_dump(mode="json"),
            "image_size": config.image_size,
            "data_hash": pictures.content_hash,
            "seed": config.seed,
        },
        evaluate=measure,
        show=measure.show,
    )


def load_autoencoder(weights: Path) -> AutoencoderKL:
    """The averaged autoencoder of a finished training, to evaluate."""
    meta = read_meta(weights)
    network, size = meta.settings(AutoencoderConfig, "network"), image_size_of(weights)
    described = [network.model_dump(), size]
    return load_claimed(
        weights, described, lambda: Autoencoding(build_autoencoder(network, size, seed=0))
    ).vae


def image_size_of(weights: Path) -> int:
    """The side of the pictures of an autoencoder's file."""
    meta = read_meta(weights)
    if type(size := meta["image_size"]) is not int or not 0 < size <= MAX_SIDE:
        raise meta.false("image_size", ValueError(size))
    return size


def find_autoencoder(model: str) -> Path:
    """The weights file of an autoencoder. Raises CheckpointError for one of something else."""
    weights = find_model(model, "autoencoder")
    if (kind := read_meta(weights).get("kind")) != "autoencoder":
        raise CheckpointError(
            f"autoencoder={model}: holds the weights of kind {kind}: give a jobs.train_autoencoder"
        )
    return weights


def final_error(config: TrainAutoencoderConfig, weights: Path, pictures: CaptionSet) -> Interval:
    """Mean over held-out pictures of the root mean squared error, of 255."""
    kept = num_trained(len(pictures.images))
    errors = reconstruction_errors(load_autoencoder(weights), pictures.images[kept:])
    return bootstrap(errors, seed=config.seed)
