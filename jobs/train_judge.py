"""Train the judge: a small digit classifier for each domain, on real pictures.

python -m jobs.train_judge --config jobs/configs/train_judge.yaml --out outputs/judge
"""

from hw2.job import run_job
from hw2.settings.digits import TrainJudgeConfig


def main(config: TrainJudgeConfig) -> None:
    """Train (or continue), then state the accuracy on real val pictures."""
    from hw2.data.digits import read_splits
    from hw2.digits.judge_training import judge_accuracy, judge_training
    from hw2.digits.judging import JUDGE_SIZE, load_judge
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.locate import FINAL
    from hw2.metrics.table import format_table
    from hw2.runs import job_run

    splits = read_splits(config.data, JUDGE_SIZE, progress=True)
    run = job_run(config, "train_judge", splits=splits)
    with connected(config.scaling), run as (out, tracker):
        run_training(judge_training, config, "train_judge", tracker)
        accuracy = judge_accuracy(load_judge(out / FINAL), splits["val"])
        metrics = {f"eval/accuracy/{k}": v.to_json() for k, v in accuracy.items()}
        tracker.log_metrics(metrics)
        tracker.log_summary({f"eval/accuracy/{k}": v for k, v in accuracy.items()})
        rows = [
            {"domain": k, "accuracy on real val pictures": f"{v:.1%}"} for k, v in accuracy.items()
        ]
        print(format_table(rows))


if __name__ == "__main__":
    raise SystemExit(run_job(TrainJudgeConfig, main, doc=__doc__))
