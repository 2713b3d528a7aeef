"""Draw digits from a trained model, make the course's sheets, and score them.

python -m jobs.sample_digits --model asset:digits --out outputs/samples
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hw2.job import run_job
from hw2.settings.digits import SampleDigitsConfig

if TYPE_CHECKING:
    from hw2.data.digits import DigitSplit
    from hw2.digits.judging import Judge
    from hw2.runlog.tracker import Tracker


def draw_and_report(
    config: SampleDigitsConfig,
    weights: Path,
    judge: "Judge",
    real: "DigitSplit",
    out: Path,
    tracker: "Tracker",
) -> None:
    """Draw what is not in `out` yet on Ray Data actors, then report on all of it."""
    from hw2.digits.folder import make_worker, pieces_to_draw, write_pieces
    from hw2.digits.report import report_digits
    from hw2.distributed.batch import map_pieces
    from hw2.domains import DIGITS
    from hw2.progress import progress

    pieces, done = pieces_to_draw(config, out)
    total = config.num_per_class * len(DIGITS) * len(config.domains)
    with progress(total, "drawing", "pictures", done) as bar:
        results = map_pieces(make_worker(config, weights), pieces, config.scaling)
        for count in write_pieces(results, out, config):
            bar.advance(count)
    report_digits(config, judge, real, out, tracker)


def main(config: SampleDigitsConfig) -> None:
    """Draw and report, as one MLflow run."""
    from hw2.digits.compared import pairs_with
    from hw2.digits.drawing import check_sampling, check_strip, read_digit_meta
    from hw2.digits.judging import JUDGE_SIZE, load_judge
    from hw2.digits.reading import read_digits
    from hw2.distributed.session import connected
    from hw2.locate import find_model
    from hw2.runs import job_run

    weights, judge = find_model(config.model), load_judge(find_model(config.judge))
    diffusion = read_digit_meta(weights).diffusion
    check_sampling(config.sample, diffusion)
    check_strip(config, diffusion.num_train_timesteps)
    if config.against:
        pairs_with(config)  # refused before anything is made
    real = read_digits(config.data, "val", JUDGE_SIZE, progress=True)
    run = job_run(
        config,
        "sample_digits",
        splits={"val": real},
        files={"model": weights},
        not_results=("against",),
    )
    with connected(config.scaling), run as (out, tracker):
        draw_and_report(config, weights, judge, real, out, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(SampleDigitsConfig, main, doc=__doc__))
