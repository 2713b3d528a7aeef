"""Scoring a folder of drawn digits, and telling of it: table, metrics.json, MLflow."""

import json
from pathlib import Path

from hw2.ddpm import read_digits
from hw2.digit_drawing import COST, read_drawn, reverse_paths, write_sheets
from hw2.domains import DOMAINS
from hw2.journal import write_json
from hw2.judge_training import JUDGE_SIZE
from hw2.judging import judge_pictures, load_judge
from hw2.metrics.digit_scores import DigitScores, score_digits
from hw2.metrics.table import format_table
from hw2.settings import SampleDigitsConfig
from hw2.tracker import Tracker


def score_folder(config: SampleDigitsConfig, judge_path: Path, out: Path) -> DigitScores:
    """The scores of the pictures in `out` against the real val split."""
    judge = load_judge(judge_path)
    real = read_digits(config.data, "val", JUDGE_SIZE)
    images, digits, domains = read_drawn(out, config)
    return score_digits(
        judge_pictures(judge, images, digits, domains),
        judge_pictures(judge, real.images, real.digits, real.domains),
        config.seed,
    )


def report_digits(
    config: SampleDigitsConfig,
    judge_path: Path,
    out: Path,
    tracker: Tracker,
) -> DigitScores:
    """Draw the sheets, score the folder, write OUT/metrics.json and log all of it."""
    images, _, _ = read_drawn(out, config)
    figures = write_sheets(images, out, config)
    figures += [path for domain in config.domains for path in reverse_paths(out, domain)]
    for path in figures:
        tracker.log_figure(path)
    extra = json.loads((out / COST).read_text())
    scores = score_folder(config, judge_path, out)
    write_json(out / "metrics.json", {**extra, **scores.to_json()})
    tracker.log_summary(
        {**{f"eval/{k.replace(' ', '_')}": v for k, v in extra.items()}, **scores.flat()}
    )
    tracker.log_table("scores", scores.rows())
    tracker.log_file(out / "metrics.json")
    columns = ["score", *[d for d in DOMAINS if d in config.domains], "mean"]
    print(format_table(scores.summary(), columns))
    for name, value in extra.items():
        print(f"{name}: {value:g}")
    print("pictures:", *(str(path) for path in figures), sep="\n  ")
    return scores
