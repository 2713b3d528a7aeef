"""The face training put together: pictures, network, objective, what is measured and shown."""

from functools import partial
from pathlib import Path

import torch
from PIL import Image

from hw2.data.batches import Shuffled
from hw2.data.faces import PictureSet, read_pictures, real_folder
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.objective import DenoisingObjective, PictureBatch
from hw2.diffusion.schedule import linear_schedule
from hw2.errors import ConfigError
from hw2.events import Saved
from hw2.faces.drawing import draw_faces
from hw2.faces.loading import NUM_TRAIN_TIMESTEPS, FaceModel, load_face_model, weights_file
from hw2.figures.grid import sheet
from hw2.fixed_noise import FixedNoiseLoss
from hw2.metrics.intervals import Interval, bootstrap
from hw2.models.face_unet import FaceUNet, build_face_unet
from hw2.settings.faces import FaceSampling, TrainFacesConfig
from hw2.training import Training, began_with

NUM_MEASURED, PART = 256, 16
SHOW_SECONDS = 300.0
SHEET = (4, 8)


def read_faces(config: TrainFacesConfig) -> PictureSet:
    """The real faces of the data tree."""
    return read_pictures(real_folder(config.data.root), config.image_size, config.data.skip_bad)


def drawn_sheet(config: TrainFacesConfig, saved: Saved) -> Image.Image:
    """Faces drawn from the averaged weights, always from the same noises."""
    size, count = config.image_size, SHEET[0] * SHEET[1]
    start = CounterRandom(config.seed, 0, range(count)).normal(Stream.START, 3, size, size)
    settings = FaceSampling(
        num_inference_steps=config.num_inference_steps,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        use_clipped_model_output=True,
    )
    drawn = draw_faces(
        FaceModel(saved.ema, device=next(saved.ema.parameters()).device),
        start,
        settings,
        eta=0,
        seed=config.seed,
        indices=range(count),
        precision="auto",
    )
    return sheet(drawn.unflatten(0, SHEET), title=f"step {saved.step}")


def face_objective(config: TrainFacesConfig) -> DenoisingObjective:
    """The objective over the course's process."""
    return DenoisingObjective(
        linear_schedule(NUM_TRAIN_TIMESTEPS),
        "epsilon",
        config.objective.min_snr_gamma,
        config.objective.timesteps,
        config.objective.snr_floor,
    )


def fixed_loss(config: TrainFacesConfig, pictures: PictureSet) -> FixedNoiseLoss:
    """The objective on the first pictures, always at the same timesteps and noises.

    They are trained on: others of the offline tree would show the same hundred faces. So it
    compares checkpoints, and says nothing of new faces.
    """
    batch = PictureBatch(pictures.images[:NUM_MEASURED])
    return FixedNoiseLoss(face_objective(config), batch, config.seed, PART)


def final_loss(
    config: TrainFacesConfig, weights: Path, pictures: PictureSet, device: torch.device
) -> Interval:
    """The objective of the averaged weights in `weights`, over pictures and noises."""
    net = load_face_model(weights).net.to(device)
    errors = fixed_loss(config, pictures).errors(net)
    return bootstrap(errors, seed=config.seed)


def find_init(config: TrainFacesConfig) -> Path | None:
    """The file of the weights that the training begins with; None: fresh ones.

    Raises CheckpointError for what cannot be loaded, ConfigError for weights of another network.
    """
    if config.init is None:
        return None
    path = weights_file(config.init, "init")
    net, channels = load_face_model(path).net, config.network.channels
    if not isinstance(net, FaceUNet):
        raise ConfigError(f"init={config.init}: another network than the course's face network")
    if net.channels != channels:
        there, here = (",".join(map(str, widths)) for widths in (net.channels, channels))
        raise ConfigError(
            f"init={config.init}: a network of {there} channels, not {here}: give "
            f"--network.channels {there}"
        )
    return path


def face_training(config: TrainFacesConfig, out: Path, init: Path | None = None) -> Training:
    """The training that `config` describes, with results in `out`.

    It begins with the averaged weights in `init`, as `find_init` finds them.
    """
    pictures = read_faces(config)
    return Training(
        net=load_face_model(init).net
        if init
        else build_face_unet(config.network.channels, config.seed),
        objective=face_objective(config),
        source=Shuffled(PictureBatch(pictures.images), config.seed),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={
            "kind": "face_ddpm",
            "network": config.network.model_dump(),
            "data_hash": pictures.content_hash,
            "seed": config.seed,
            **began_with(init),
        },
        evaluate=fixed_loss(config, pictures),
        show=partial(drawn_sheet, config),
        show_every=SHOW_SECONDS,
    )
