"""What a trial of the guidance sweep draws and how it is scored."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hw2.data.digits import read_digits
from hw2.data.files import sha256_of
from hw2.data.layout import shown_name
from hw2.digits.drawing import DigitModel, draw, load_digit_model
from hw2.digits.judging import JUDGE_SIZE, judge_pictures, load_judge
from hw2.domains import DIGITS, DOMAINS
from hw2.figures.grid import sheet
from hw2.metrics.digit_metrics import METRICS, JudgedPictures
from hw2.metrics.digit_scores import MEAN, score_digits
from hw2.metrics.intervals import Interval
from hw2.models.judge import Judge
from hw2.settings.data import DataConfig
from hw2.settings.digits import SampleSettings
from hw2.sweeps.shown import Metric, Shown
from hw2.sweeps.space import Point, label_of, resolve
from hw2.sweeps.trial import Arrays, OfTrial, Scores
from hw2.weights import refuse_replaced


def shown(root: Path) -> Shown:
    """What the sweep over the pictures of `root` shows."""
    metrics = {}
    for name, metric in METRICS.items():
        if metric.spec and not metric.of_real:
            metrics[name] = Metric(metric.title, metric.column, metric.spec)
        for domain in DOMAINS if not metric.spec else ():
            title = f"{metric.title.partition(',')[0]}, {shown_name(root, domain)}"
            metrics[f"{name}/{domain}"] = Metric(title, f"{metric.column} {domain[0].upper()}")
    metrics["network_calls"] = Metric("network calls a picture", "calls")
    return Shown(metrics, ("diversity", "accuracy"), {"accuracy": len(DOMAINS) * len(DIGITS)})


@dataclass(frozen=True)
class GuidanceWork:
    """Draws all digits of both domains; a sample is a noise, so all of them share it."""

    model: DigitModel
    judge: Judge
    real: JudgedPictures
    settings: SampleSettings
    seed: int

    def draw(self, point: Point, samples: range, of_trial: OfTrial) -> Arrays:
        """`images` (samples, domains, digits, 3, h, w) and `network_calls` (samples,)."""
        settings = resolve(self.settings, point)
        drawn = [
            draw(
                self.model,
                settings,
                domain=domain,
                indices=[sample + 1 for sample in samples],
                seed=self.seed,
            )
            for domain in range(len(DOMAINS))
        ]
        images = torch.stack([d.images for d in drawn]).permute(2, 0, 1, 3, 4, 5)
        calls = np.full(len(samples), drawn[0].num_network_calls)
        return {"images": images.contiguous().numpy(), "network_calls": calls}

    def score(self, point: Point, drawn: Arrays) -> tuple[Scores, Arrays]:
        """The scores, also by domain, and the share read as meant of each noise.

        What the judge makes of real pictures, the same of all trials, is among them.
        """
        images = torch.from_numpy(drawn["images"])
        count = len(images)
        shape = (count, len(DOMAINS), len(DIGITS))
        digits = torch.arange(len(DIGITS)).expand(shape).flatten()
        domains = torch.arange(len(DOMAINS))[:, None].expand(shape).flatten()
        judged = judge_pictures(self.judge, images.flatten(0, 2), digits, domains)
        found = score_digits(judged, self.real)
        scores: Scores = {
            score.metric if score.domain == MEAN else f"{score.metric}/{score.domain}": score.found
            for score in found.scores
            if score.digit is None
        }
        calls = float(drawn["network_calls"].mean())
        scores["network_calls"] = Interval(calls, calls, calls)
        right = (judged.predictions == judged.digits).double().numpy()
        return scores, {"accuracy": right.reshape(count, -1).mean(1)}

    def sheet(self, point: Point, drawn: Arrays) -> Image.Image:
        """Five noises of each digit, MNIST-M beside SVHN."""
        images = torch.from_numpy(drawn["images"][:5])
        columns = images.permute(2, 1, 0, 3, 4, 5).flatten(1, 2)
        return sheet(columns, DIGITS, title=label_of(point))


def make_guidance_work(
    weights: Path, judge: Path, data: DataConfig, settings: SampleSettings, seed: int
) -> Callable[[bool], GuidanceWork]:
    """What an actor makes once: the model, the judge, and the real pictures as judged.

    CheckpointError there if `weights` or `judge` are no longer what they are now.
    """
    known = {path: sha256_of(path) for path in (weights, judge)}

    def make(on_gpu: bool) -> GuidanceWork:
        device = torch.device("cuda" if on_gpu else "cpu")
        model, reader = load_digit_model(weights).to(device), load_judge(judge).to(device)
        for path, content in known.items():
            refuse_replaced(path, content)
        val = read_digits(data, "val", JUDGE_SIZE)
        real = judge_pictures(reader, val.images, val.digits, val.domains)
        return GuidanceWork(model, reader, real, settings, seed)

    return make
