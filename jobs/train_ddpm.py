"""Train a class-conditional DDPM on the digits with Ray Train, then draw and score its sheets.

python -m jobs.train_ddpm --config jobs/configs/train_ddpm.yaml --out outputs/ddpm
"""

from hw2.errors import in_section
from hw2.job import run_job
from hw2.settings.digits import TrainDdpmConfig


def main(config: TrainDdpmConfig) -> None:
    """Train (or continue), draw `num_per_class` pictures a class, score them."""
    from functools import partial

    from hw2.data.digits import read_digits, read_splits
    from hw2.data.files import sha256_of
    from hw2.digits.ddpm_training import ddpm_training, drawing_after, find_init
    from hw2.digits.drawing import check_sampling
    from hw2.digits.folder import draw_missing, make_worker
    from hw2.digits.judging import JUDGE_SIZE, find_judge, load_judge
    from hw2.digits.report import report_digits
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.locate import FINAL, find_model
    from hw2.models.digit_unet import check_network
    from hw2.runs import job_run

    # What only drawing and scoring need is looked at before the training, not after it.
    judge_file = find_judge(config.judge)
    judge = load_judge(judge_file)
    with in_section("sample"):
        check_sampling(config.sample, config.diffusion)
    check_network(config.network)
    init = find_init(config)
    splits = read_splits(config.data, config.network.image_size, progress=True)
    anew = {"judge": sha256_of(judge_file)}
    run = job_run(
        config,
        "train_ddpm",
        splits=splits,
        files={"init": init} if init else {},
        anew=anew,
        not_results=("num_per_class",),
    )
    with connected(config.scaling), run as (out, tracker):
        run_training(partial(ddpm_training, init=init), config, "train_ddpm", tracker)
        weights = out / FINAL
        if mirror := tracker.mirror:  # other nodes have it from the bucket
            mirror.push()
            weights = find_model(mirror.address.uri)
        drawing = drawing_after(config, out, weights)
        real = read_digits(config.data, "val", JUDGE_SIZE)
        draw_missing(drawing, make_worker(drawing, weights), out, map_pieces)
        report_digits(drawing, judge, real, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(TrainDdpmConfig, main, doc=__doc__))
