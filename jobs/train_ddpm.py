"""Train a class-conditional DDPM on the digits with Ray Train, then draw and score its sheets.

python -m jobs.train_ddpm --config jobs/configs/train_ddpm.yaml --out outputs/ddpm
"""

from functools import partial

from hw2.job import run_job
from hw2.settings import SampleDigitsConfig, TrainDdpmConfig


def main(config: TrainDdpmConfig) -> None:
    """Train (or continue), draw `num_per_class` pictures a class, score them."""
    from hw2.ddpm import ddpm_training, read_digits
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.locate import FINAL, find_model
    from hw2.runs import job_run
    from jobs.sample_digits import draw_and_report

    find_model(config.judge)  # a misspelt judge is told before the training, not after it
    split = read_digits(config.data, "train", config.network.image_size, progress=True)
    with job_run(config, "train_ddpm", split) as (out, tracker), connected(config.scaling):
        run_training(partial(ddpm_training, config, out), config, "train_ddpm", tracker)
        tracker.log_file(out / FINAL)
        drawing = SampleDigitsConfig(
            out=out,
            model=str(out / FINAL),
            seed=config.seed,
            judge=config.judge,
            data=config.data,
            num_per_class=config.num_per_class,
            scaling=config.scaling,
            **config.sample.model_dump(),
        )
        draw_and_report(drawing, out, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(TrainDdpmConfig, main, doc=__doc__))
