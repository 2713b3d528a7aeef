"""The digit training put together: pictures, network, objective, what is measured and shown."""

from functools import partial
from pathlib import Path

import torch
from PIL import Image

from hw2.config import difference
from hw2.data.batches import Shuffled
from hw2.data.digits import DigitSplit, read_splits
from hw2.data.layout import shown_name
from hw2.diffusion.counter import permutation
from hw2.diffusion.objective import DenoisingObjective, LabelledObjective
from hw2.diffusion.schedule import make_schedule
from hw2.digits.drawing import digit_model, draw, load_digit_model, read_digit_meta
from hw2.disclosure import warn
from hw2.domains import DIGITS, DOMAINS
from hw2.errors import ConfigError
from hw2.events import Saved
from hw2.figures.grid import sheet
from hw2.fixed_noise import FixedNoiseLoss
from hw2.locate import find_model
from hw2.models.digit_unet import DigitUNet, build_digit_unet
from hw2.settings.digits import SampleDigitsConfig, TrainDdpmConfig
from hw2.training import Training, began_with
from hw2.weights import load_weights

NUM_HELD_OUT = 512
SHOW_SECONDS = 60.0


def held_out_loss(objective: DenoisingObjective, split: DigitSplit, seed: int) -> FixedNoiseLoss:
    """The objective on pictures of the val split.

    They are the same random ones whatever the seed, so that trainings compare; evenly spaced rows
    of a table in the order of its labels may all be of one digit or domain.
    """
    chosen = permutation(0, 0, len(split))[:NUM_HELD_OUT]
    return FixedNoiseLoss(objective, split.whole, seed, 128, torch.from_numpy(chosen).sort().values)


def drawn_sheet(config: TrainDdpmConfig, saved: Saved) -> Image.Image:
    """One picture of each digit and domain, drawn from the averaged weights."""
    assert isinstance(saved.ema, DigitUNet)
    model = digit_model(saved.ema, config.diffusion).to(next(saved.ema.parameters()).device)
    rows = [
        draw(model, config.sample, domain=d, indices=[1], seed=config.seed).images[:, 0]
        for d in range(len(DOMAINS))
    ]
    names = [shown_name(config.data.root, domain) for domain in DOMAINS]
    title = f"step {saved.step}, w={config.sample.guidance_weight:g}"
    return sheet(torch.stack(rows), names, DIGITS, title)


def drawing_after(config: TrainDdpmConfig, out: Path, weights: Path) -> SampleDigitsConfig:
    """The settings by which the training's `weights` draw into its `out`."""
    return SampleDigitsConfig(
        out=out,
        model=str(weights),
        seed=config.seed,
        judge=config.judge,
        data=config.data,
        num_per_class=config.num_per_class,
        scaling=config.scaling,
        **config.sample.model_dump(),
    )


def find_init(config: TrainDdpmConfig) -> Path | None:
    """The file of the weights that the training begins with; None: fresh ones.

    Weights of another process are told: the network learns that change too. Raises CheckpointError
    for what cannot be loaded, ConfigError for weights of another network.
    """
    if config.init is None:
        return None
    path = find_model(config.init, "init")
    meta = read_digit_meta(path)
    if differ := difference(meta.network.model_dump(), config.network.model_dump()):
        raise ConfigError(
            f"init={config.init}: another network (network.{'; network.'.join(differ)}): give the "
            "training the same --network settings"
        )
    load_digit_model(path)
    process = ("schedule", "num_train_timesteps", "prediction_type")
    there, here = (of.model_dump(include=set(process)) for of in (meta.diffusion, config.diffusion))
    if differ := difference(there, here):
        warn(f"init={config.init}: of another process (diffusion.{'; diffusion.'.join(differ)})")
    return path


def ddpm_training(config: TrainDdpmConfig, out: Path, init: Path | None = None) -> Training:
    """The training that `config` describes, with results in `out`.

    It begins with the averaged weights in `init`, as `find_init` finds them.
    """
    if init is None:
        net = build_digit_unet(config.network, config.seed)
    else:
        net = DigitUNet(config.network)
        load_weights(init, net, "ema")
    diffusion = config.diffusion
    objective = LabelledObjective(
        make_schedule(diffusion.schedule, diffusion.num_train_timesteps),
        diffusion.prediction_type,
        diffusion.min_snr_gamma,
        diffusion.timesteps,
        label_dropout=diffusion.label_dropout,
        drop=diffusion.drop,
        null_digit=net.null_digit,
        null_domain=net.null_domain,
    )
    train, val = read_splits(config.data, config.network.image_size).values()
    return Training(
        net=net,
        objective=objective,
        source=Shuffled(train.whole, config.seed),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={
            "kind": "digit_ddpm",
            "network": config.network.model_dump(),
            "diffusion": diffusion.model_dump(),
            "data_hash": train.content_hash,
            "seed": config.seed,
            **began_with(init),
        },
        evaluate=held_out_loss(objective, val, config.seed),
        show=partial(drawn_sheet, config),
        show_every=SHOW_SECONDS,
    )
