"""Train a small CLIP on captioned pictures, to be loaded by open_clip too.

python -m jobs.train_clip --config jobs/configs/train_clip.yaml --out outputs/clip_training
"""

from hw2.job import run_job
from hw2.settings.clip import TrainClipConfig


def main(config: TrainClipConfig) -> None:
    """Train (or continue), then state zero-shot accuracy on the val pictures."""
    from hw2.clip.training import (
        clip_training,
        final_report,
        read_clip_tree,
        warn_of_cut_captions,
        write_open_clip,
    )
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.locate import FINAL
    from hw2.metrics.table import format_table
    from hw2.runs import job_run

    train, val = read_clip_tree(config)
    warn_of_cut_captions(config, train.captions)
    run = job_run(config, "train_clip", splits={"train": train, "val": val})
    with connected(config.scaling), run as (out, tracker):
        run_training(clip_training, config, "train_clip", tracker)
        write_open_clip(out / FINAL, out / "open_clip")
        report = final_report(out / FINAL, val)
        tracker.log_metrics(report.metrics)
        tracker.log_picture("zero_shot", report.figure)
        tracker.log_summary(report.summary)
        print(format_table(report.rows))


if __name__ == "__main__":
    raise SystemExit(run_job(TrainClipConfig, main, doc=__doc__))
