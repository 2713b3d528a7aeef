"""Sweep the guidance weight (with interval, sampler, steps) of a digit model, by Ray Tune.

python -m jobs.tune_guidance --config tune_configs/guidance.yaml --out outputs/tune_guidance
"""

from hw2.job import run_job
from hw2.settings.digits import SampleSettings
from hw2.settings.sweeps import TuneGuidanceConfig


def main(config: TuneGuidanceConfig) -> None:
    """Run the trials that are not done yet, then report on all of them."""
    from hw2.data.digits import read_digits
    from hw2.digits.drawing import check_sampling, read_digit_meta
    from hw2.digits.judging import JUDGE_SIZE, find_judge, load_judge
    from hw2.digits.sweep import make_guidance_work, shown
    from hw2.distributed.sweep import sweep
    from hw2.distributed.tuning import connected_for
    from hw2.locate import find_model
    from hw2.runs import job_run
    from hw2.sweeps.report import check_metrics
    from hw2.sweeps.space import NOT_RESULTS, checked_points

    weights, judge = find_model(config.model), find_judge(config.judge)
    diffusion, base = read_digit_meta(weights).diffusion, config.part(SampleSettings)
    points = checked_points(config, base, lambda one: check_sampling(one, diffusion))
    metrics = shown(config.data.root)
    check_metrics(config, metrics)
    load_judge(judge)
    real = read_digits(config.data, "val", JUDGE_SIZE, progress=True)
    make = make_guidance_work(weights, judge, config.data.absolute(), base, config.seed)
    run = job_run(
        config,
        "tune_guidance",
        splits={"val": real},
        files={"model": weights, "judge": judge},
        hashes={"data.root": real.content_hash},  # finished trials keep their scores
        not_results=NOT_RESULTS,
    )
    with connected_for(config), run as (_, tracker):
        sweep(make, points, config, metrics, "tune_guidance", tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(TuneGuidanceConfig, main, doc=__doc__))
