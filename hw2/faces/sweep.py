"""What a trial of the eta sweep draws and how it is scored."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from hw2.data.faces import read_pictures
from hw2.data.files import sha256_of
from hw2.data.noises import read_noises
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import ConfigError
from hw2.faces.drawing import draw_faces, to_bytes
from hw2.faces.ground_truth import ground_truth_folder, read_ground_truth, squared_error
from hw2.faces.loading import FaceModel, load_face_model
from hw2.figures.grid import sheet
from hw2.metrics.frechet import frechet_estimate, kernel_estimate
from hw2.metrics.intervals import UNDEFINED, Interval, bootstrap, wilson
from hw2.models.random_features import WIDTHS, RandomFeatures
from hw2.pixels import to_unit
from hw2.settings.faces import EtaSettings
from hw2.settings.sweeps import TuneEtaConfig
from hw2.settings.values import Precision
from hw2.sweeps.shown import Metric, Shown
from hw2.sweeps.space import Point, label_of, resolve
from hw2.sweeps.trial import Arrays, OfTrial, Scores
from hw2.weights import refuse_replaced

SHOWN = Shown(
    {
        "distance": Metric("distance from the eta=0 picture, RMS of 0..255", "distance"),
        "repeat_distance": Metric("distance between two repeats, RMS of 0..255", "repeats apart"),
        "repeated": Metric("share repeated to the byte", "repeated", ".0%"),
        "mse": Metric("MSE to the given pictures, 0..255", "MSE"),
        "frechet": Metric("Frechet distance to real faces", "Frechet"),
        "kernel": Metric("kernel distance to real faces", "kernel"),
        "network_calls": Metric("network calls a picture", "calls"),
    }
)
ROWS = 8  # of a trial's sheet


@dataclass(frozen=True)
class EtaWork:
    """Draws faces: first from given noises, then from its own; a sample is a noise."""

    model: FaceModel
    settings: EtaSettings
    inputs: "EtaInputs"
    real: Float[Tensor, "m 64"]
    features: RandomFeatures
    seed: int
    precision: Precision

    def _start(self, sample: int) -> Tensor:
        if sample < len(self.inputs.noises):
            return self.inputs.noises[sample]
        shape = self.inputs.noises.shape[1:]
        return CounterRandom(self.seed, 0, [sample]).normal(Stream.START, *shape)[0]

    def _pictures(self, settings: EtaSettings, samples: range, seed: int) -> np.ndarray:
        drawn = draw_faces(
            self.model,
            torch.stack([self._start(sample) for sample in samples]),
            settings,
            eta=settings.eta,
            seed=seed,
            indices=samples,
            precision=self.precision,
        )
        return to_bytes(drawn, "fixed").numpy()

    def draw(self, point: Point, samples: range, of_trial: OfTrial) -> Arrays:
        """`images` (samples, 3, h, w), those at eta 0 as `still`, and of the first chunk `again`.

        `again` is drawn from the same starts with other fresh noise.
        """
        settings = resolve(self.settings, point)
        images = self._pictures(settings, samples, self.seed)
        still = images if settings.eta == 0 else of_trial(point | {"eta": 0})["images"]
        again = images[:0]
        if samples.start == 0:
            again = self._pictures(settings, samples, self.seed + 1)
        calls = np.full(len(samples), settings.num_inference_steps)
        return {"images": images, "still": still, "again": again, "network_calls": calls}

    def score(self, point: Point, drawn: Arrays) -> tuple[Scores, Arrays]:
        """The scores of `SHOWN`, and each picture's distance, and squared error if it has one."""
        arrays = {name: torch.from_numpy(values) for name, values in drawn.items()}
        images, again = arrays["images"], arrays["again"]
        count = min(len(self.inputs.truth), len(images))
        apart = squared_error(images, arrays["still"]).sqrt()
        errors = squared_error(images[:count], self.inputs.truth[:count]) if count else apart[:0]
        repeats = squared_error(images[: len(again)], again).sqrt()
        calls = float(drawn["network_calls"].mean())
        scores: Scores = {
            "distance": self._mean(apart),
            "repeat_distance": self._mean(repeats),
            "repeated": wilson(int((repeats == 0).sum()), len(repeats)),
            "mse": self._mean(errors),
            "frechet": UNDEFINED,
            "kernel": UNDEFINED,
            "network_calls": Interval(calls, calls, calls),
        }
        if len(self.real) and len(images) > 1:
            found = self.features(to_unit(images))
            scores["frechet"] = frechet_estimate(found, self.real)
            scores["kernel"] = kernel_estimate(found, self.real)
        return scores, {"distance": apart.numpy(), "mse": errors.numpy()}

    def _mean(self, values: Tensor) -> Interval:
        return bootstrap(values, seed=self.seed) if len(values) else UNDEFINED

    def sheet(self, point: Point, drawn: Arrays) -> Image.Image:
        """The first faces, over the eta=0 pictures of the same noises."""
        rows = [torch.from_numpy(drawn[name][:ROWS]) for name in ("images", "still")]
        labels = [label_of(point), "eta=0"]
        return sheet(torch.stack(rows), labels)


@dataclass(frozen=True)
class EtaInputs:
    """What the sweep reads: noises, the pictures that were given for the first of them, real faces.

    Each may be empty. `hashes` are of their content, by name.
    """

    noises: Float[Tensor, "n 3 h w"]
    truth: UInt8[Tensor, "k 3 h w"]
    real: UInt8[Tensor, "m 3 s s"]
    hashes: dict[str, str]


def read_inputs(config: TuneEtaConfig) -> EtaInputs:
    """What `config` names. Raises DataError for what is missing or bad."""
    noises = torch.empty(0, 3, config.image_size, config.image_size)
    real = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    hashes = {}
    if config.noise is not None:
        read = read_noises(config.noise)
        noises, hashes["noise"] = read.noises, read.content_hash
    truth = torch.empty(0, *noises.shape[1:], dtype=torch.uint8)
    if config.noise is not None and (folder := ground_truth_folder(config.noise, config.gt)):
        found = read_ground_truth(folder, read)
        known = list(itertools.takewhile(found.__contains__, read.names))
        if known:
            truth = torch.stack([found[name] for name in known])
            hashes["gt"] = hashlib.sha256(truth.numpy().tobytes()).hexdigest()
    if config.real is not None:
        pictures = read_pictures(config.real)
        real, hashes["real"] = pictures.images, pictures.content_hash
    return EtaInputs(noises, truth, real, hashes)


def refuse_unmeasured(config: TuneEtaConfig, inputs: EtaInputs) -> None:
    """Raise ConfigError if `inputs` lack what the metric that decides is measured against."""
    metric = config.metric
    real, noise = config.real or "null", config.noise or "null"
    if metric == "mse" and not len(inputs.truth):
        raise ConfigError(
            f"metric=mse: there are no given pictures of noise={noise}: give --noise and --gt, or "
            "take metric distance or frechet"
        )
    if metric in ("frechet", "kernel") and (not len(inputs.real) or config.samples < 2):
        raise ConfigError(
            f"metric={metric}: wants real faces and two samples or more, not real={real} and "
            f"samples={config.samples}: give them, or take metric distance or mse"
        )


def make_eta_work(
    weights: Path, settings: EtaSettings, inputs: EtaInputs, seed: int, precision: Precision
) -> Callable[[bool], EtaWork]:
    """What an actor makes once: the model, and the features of the real faces.

    CheckpointError there if `weights` are no longer what they are now.
    """
    known = sha256_of(weights)

    def make(on_gpu: bool) -> EtaWork:
        model = load_face_model(weights).to(torch.device("cuda" if on_gpu else "cpu"))
        refuse_replaced(weights, known)
        features = RandomFeatures()
        real = torch.empty(0, WIDTHS[-1])
        if len(inputs.real):
            parts = inputs.real.split(500)
            real = torch.cat([features(to_unit(part)) for part in parts])
        return EtaWork(model, settings, inputs, real, features, seed, precision)

    return make
