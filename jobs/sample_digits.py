"""Draw digits from a trained model, make the course's sheets, and score them.

python -m jobs.sample_digits --model asset:digits --out outputs/samples
"""

from hw2.job import run_job
from hw2.settings.digits import SampleDigitsConfig


def main(config: SampleDigitsConfig) -> None:
    """Draw and report, as one MLflow run; without a judge the pictures alone."""
    from hw2.data.digits import read_digits
    from hw2.data.files import sha256_of
    from hw2.digits.compared import hash_of_pairs
    from hw2.digits.drawing import check_sampling, check_strip, load_digit_model, read_digit_meta
    from hw2.digits.folder import draw_missing, make_worker
    from hw2.digits.judging import JUDGE_SIZE, find_judge, load_judge
    from hw2.digits.report import report_digits
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.session import connected
    from hw2.locate import find_model
    from hw2.runs import job_run

    weights = find_model(config.model)
    judge_file = None if config.judge is None else find_judge(config.judge)
    judge = load_judge(judge_file) if judge_file else None
    diffusion = read_digit_meta(weights).diffusion
    if not config.averaged:
        load_digit_model(weights, averaged=False)  # refused before anything is made
    check_sampling(config.sample, diffusion)
    check_strip(config, diffusion.num_train_timesteps)
    anew = {"judge": sha256_of(judge_file)} if judge_file else {}
    if config.against:  # likewise
        anew["against"] = hash_of_pairs(config)
    real = read_digits(config.data, "val", JUDGE_SIZE, progress=True) if judge else None
    make = make_worker(config, weights)
    run = job_run(
        config,
        "sample_digits",
        splits={"val": real} if real else {},
        files={"model": weights},
        anew=anew,
        not_results=("against", "num_per_class"),
    )
    with connected(config.scaling), run as (out, tracker):
        draw_missing(config, make, out, map_pieces)
        report_digits(config, judge, real, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(SampleDigitsConfig, main, doc=__doc__))
