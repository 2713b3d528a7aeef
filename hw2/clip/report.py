"""Telling of a zero-shot run: tables, figures, metrics.json and MLflow."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from hw2.clip.finding import ClipSource
from hw2.clip.plan import Plan
from hw2.clip.results import Predictions, bad_pictures, predict, write_rows
from hw2.clip.scores import SCORES, Scores, changed, compare, examples, score
from hw2.data.files import read_mapping
from hw2.data.images import decode_bytes
from hw2.data.listing.parts import read_part
from hw2.data.listing.pictures import Listing
from hw2.errors import DataError
from hw2.figures.gallery import GalleryRow, gallery
from hw2.figures.matrix import confusion_figure, similarity_figure
from hw2.figures.reliability import reliability_figure
from hw2.metrics.classification import worst_pairs
from hw2.metrics.table import format_table
from hw2.pixels import stacked
from hw2.runlog.tracker import Tracker
from hw2.settings.zero_shot import ClipZeroShotConfig
from hw2.tracking import DATA_HASH

NUM_WORST = 10
SIMILAR_CLASSES = 8
SHOWN_CHANGES = 1000
PACE = ("seconds_to_first_part", "pictures_per_second")  # of Plan.pace


class ZeroShotReport:
    """What is shown of the predictions of all prompt sets."""

    def __init__(
        self,
        config: ClipZeroShotConfig,
        source: ClipSource,
        listing: Listing,
        tracker: Tracker,
    ) -> None:
        self.config, self.listing, self.tracker = config, listing, tracker
        self.title, self.preprocess = source.title, source.preprocess
        # On one line each: at a line break PIL's layout fails.
        self.names = [" ".join(name.split()) for name in listing.labels.names]

    def tell(self, predictions: Mapping[str, Predictions], facts: Mapping[str, Any]) -> None:
        """Tables, figures and metrics.json, which `facts` are part of."""
        scores = {}
        for name, found in predictions.items():
            scores[name] = score(found, len(self.names), self.config.seed)
            self._show_set(name, found, scores[name])
        comparisons = compare(predictions)
        for one in comparisons:
            self._list_changes(one.a, one.b, predictions)
        metrics = {
            **facts,
            "chance": 1 / len(self.names),
            "prompt_sets": {name: found.to_json() for name, found in scores.items()},
            "comparisons": [one.to_json() for one in comparisons],
        }
        self.tracker.log_metrics(metrics)
        flat = {f"eval/{k}/{n}": v for n, s in scores.items() for k, v in s.summary.items()}
        flat |= {f"eval/{k}": v for k, v in next(iter(scores.values())).summary.items()}
        numbers = {k: v for k, v in facts.items() if isinstance(v, int | float)}
        self.tracker.log_summary({**flat, **numbers})
        self._print(scores)
        rows = [one.row() for one in comparisons]
        self.tracker.log_table("comparisons", rows)
        if rows:
            print(format_table(rows))

    def _print(self, scores: Mapping[str, Scores]) -> None:
        rows = [
            {"prompts": name}
            | {title: format(found.summary[key], spec) for key, (title, spec) in SCORES.items()}
            for name, found in scores.items()
        ]
        self.tracker.log_table("scores", rows)
        print(format_table(rows))
        n = next(iter(scores.values())).n
        print(f"{n} pictures, {len(self.names)} classes; chance {1 / len(self.names):.1%}")

    def _show_set(self, name: str, predictions: Predictions, scores: Scores) -> None:
        worst = worst_pairs(scores.confusion, NUM_WORST)
        top1 = f"{self.title}, prompts {name}: top-1 {scores.summary['top1']:.1%}"
        self._figure(
            f"confusion_{name}", confusion_figure(scores.confusion, self.names, top1, worst)
        )
        self._figure(
            f"calibration_{name}",
            reliability_figure(scores.bins, scores.summary["ece"], f"{self.title}, prompts {name}"),
        )
        self._figure(f"gallery_{name}", self._gallery(predictions, top1))
        rows = [
            {
                "class": self.names[one.index],
                "pictures": one.n,
                "recall": one.recall.value,
                "recall_low": one.recall.low,
                "recall_high": one.recall.high,
                "top5": one.top5.value,
                "precision": one.precision.value,
                "mistaken_for": "" if one.mistaken_for is None else self.names[one.mistaken_for],
                "times": one.times,
            }
            for one in scores.by_class
        ]
        self.tracker.log_table(f"classes_{name}", rows)

    def _gallery(self, predictions: Predictions, title: str) -> Image.Image:
        rows = []
        for group in examples(predictions, self.config.num_examples, self.config.seed):
            notes = []
            for place in group.places:
                truth = self.names[int(predictions.labels[place])]
                said = self.names[int(predictions.classes[place, 0])]
                share = float(predictions.probabilities[place, 0])
                notes.append([f"true: {truth}", f"said: {said}", f"p = {share:.1%}"])
            listed = predictions.rows[torch.tensor(group.places, dtype=torch.int64)]
            rows.append(GalleryRow(group.title, self._pictures(listed), notes))
        return gallery(rows, title)

    def similarity(self, plan: Plan, name: str, predictions: Predictions) -> None:
        """A figure of the cosines of a few pictures with the prompts of their classes.

        Of several prompts a class it is their mean's cosine, and the first is written.
        """
        there = predictions.labels.unique()
        spread = torch.linspace(0, len(there) - 1, min(SIMILAR_CLASSES, len(there))).long()
        shown = there[spread]
        places = torch.stack([(predictions.labels == c).nonzero()[0, 0] for c in shown])
        rows = predictions.rows[places]
        classes, _ = plan.classes(name)
        values = torch.stack([plan.embedding(int(row)) for row in rows]) @ classes[shown].T
        prompts = [plan.prompts[name][int(c)] for c in shown]
        texts = [own[0] + f" (+{len(own) - 1} more)" * (len(own) > 1) for own in prompts]
        # Without a title: the report's page shows it under a caption, in another language too.
        figure = similarity_figure(values, self._pictures(rows), texts)
        self._figure(f"similarity_{name}", figure)

    def _pictures(self, rows: Tensor) -> UInt8[Tensor, "n 3 h w"]:
        """The pictures at `rows` of the listing, as the model sees them."""
        pixels, part = [], self.listing.take(rows.tolist())
        for row, data, reason in read_part(part):
            try:
                if data is None:
                    raise DataError(str(reason))
                pixels.append(self.preprocess.pixels(decode_bytes(data)))
            except DataError as error:
                name = part.table["name"][row]
                raise DataError(
                    f"{name}: it was a picture when it was embedded, and no longer is ({error})"
                ) from None
        if not pixels:
            return torch.empty(0, 3, *self.preprocess.size, dtype=torch.uint8)
        return stacked(pixels)

    def _list_changes(self, a: str, b: str, predictions: Mapping[str, Predictions]) -> None:
        """The pictures that two sets name differently: Parquet, and a table of the first."""
        first, second = predictions[a], predictions[b]
        places = changed(first, second)
        paths = self.listing.table["name"].take(first.rows[places].numpy()).to_pylist()
        columns = (first.labels, first.classes[:, 0], second.classes[:, 0])
        named = [[self.names[c] for c in column[places].tolist()] for column in columns]
        keys = ("path", "label", a, b)
        rows = [dict(zip(keys, row, strict=True)) for row in zip(paths, *named, strict=True)]
        path = self.tracker.out / "changed" / f"{a}__{b}.parquet"
        write_rows(path, rows, keys)
        self.tracker.log_file(path, "changed")
        self.tracker.log_table(f"changed_{a}__{b}", rows[:SHOWN_CHANGES])

    def _figure(self, name: str, picture: Image.Image) -> None:
        print(f"figure: {self.tracker.log_picture(name, picture)}")


def report_zero_shot(
    config: ClipZeroShotConfig,
    source: ClipSource,
    listing: Listing,
    plan: Plan,
    cut: Mapping[str, int],
    tracker: Tracker,
) -> None:
    """Everything after the embeddings are there: bad pictures, predictions, report.

    `cut` is how many prompts of each set were too long for the model.
    """
    out = tracker.out
    tracker.set_tags({f"{DATA_HASH}images": plan.content_hash, "model": source.title})
    bad = bad_pictures(plan)
    _tell_bad(bad, len(listing), config, tracker)
    predictions = {
        name: predict(plan, listing.labels, name, out, config.save_embeddings)
        for name in plan.prompts
    }
    report = ZeroShotReport(config, source, listing, tracker)
    report.similarity(plan, *next(iter(predictions.items())))
    facts = {"pictures": len(listing), "bad_pictures": len(bad), "cut_prompts": dict(cut)}
    before = read_mapping(out / "metrics.json")  # its pace stays where all was done already
    pace = plan.pace() or {key: before[key] for key in PACE if key in before}
    report.tell(predictions, {**facts, **pace})


def _tell_bad(
    bad: Sequence[dict[str, str]],
    total: int,
    config: ClipZeroShotConfig,
    tracker: Tracker,
) -> None:
    """List bad pictures in OUT/quarantine.parquet. Raises DataError if they are too many."""
    path = tracker.out / "quarantine.parquet"
    write_rows(path, bad, ("path", "reason"))
    tracker.log_file(path)
    tracker.log_summary({"bad_pictures": len(bad)})
    tracker.log_table("quarantine", list(bad[:SHOWN_CHANGES]))
    if bad:
        print(f"{len(bad)} of {total} pictures cannot be used; the list with reasons: {path}")
    if len(bad) == total:
        raise DataError(f"none of the {total} pictures can be used: {path} has the reasons")
    if len(bad) > config.max_bad_share * total:
        raise DataError(
            f"{len(bad)} of {total} pictures are bad ({len(bad) / total:.1%}), more than "
            f"max_bad_share={config.max_bad_share:g} allows: {path} lists them; mend them, or "
            "raise --max_bad_share"
        )
