"""Draw digits from a trained model, make the course's sheets, and score them.

python -m jobs.sample_digits --model asset:digits --out outputs/samples
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hw2.job import run_job
from hw2.settings import SampleDigitsConfig

if TYPE_CHECKING:
    from hw2.tracker import Tracker


def draw_and_report(config: SampleDigitsConfig, out: Path, tracker: "Tracker") -> None:
    """Draw what is not in `out` yet on Ray Data actors, then report on all of it."""
    from hw2.digit_drawing import make_worker, pieces_to_draw, write_pieces
    from hw2.digit_report import report_digits
    from hw2.distributed.batch import map_pieces
    from hw2.locate import find_model
    from hw2.progress import progress
    from hw2.runs import same_inputs

    weights, judge = find_model(config.model), find_model(config.judge)
    same_inputs(out, {"model": weights, "judge": judge})
    pieces, done = pieces_to_draw(config, out)
    total = config.num_per_class * 10 * len(config.domains)
    with progress(total, "drawing", "pictures", done) as bar:
        results = map_pieces(make_worker(config, weights), pieces, config.scaling)
        for count in write_pieces(results, out, config):
            bar.advance(count)
    report_digits(config, judge, out, tracker)


def main(config: SampleDigitsConfig) -> None:
    """Draw and report, as one MLflow run."""
    from hw2.runs import job_run

    with job_run(config, "sample_digits") as (out, tracker):
        draw_and_report(config, out, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(SampleDigitsConfig, main, doc=__doc__))
