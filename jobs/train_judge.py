"""Train the judge: a small digit classifier for each domain, on real pictures.

python -m jobs.train_judge --config jobs/configs/train_judge.yaml --out outputs/judge
"""

from functools import partial

from hw2.job import run_job
from hw2.settings import TrainJudgeConfig


def main(config: TrainJudgeConfig) -> None:
    """Train (or continue), then state the accuracy on real val pictures."""
    from hw2.ddpm import read_digits
    from hw2.distributed.train import run_training
    from hw2.journal import write_json
    from hw2.judge_training import JUDGE_SIZE, judge_accuracy, judge_training
    from hw2.judging import load_judge
    from hw2.locate import FINAL
    from hw2.metrics.table import format_table
    from hw2.runs import job_run

    split = read_digits(config.data, "train", JUDGE_SIZE, progress=True)
    with job_run(config, "train_judge", split) as (out, tracker):
        run_training(partial(judge_training, config, out), config, "train_judge", tracker)
        val = read_digits(config.data, "val", JUDGE_SIZE)
        accuracy = judge_accuracy(load_judge(out / FINAL), val)
        metrics = {f"eval/accuracy/{k}": v.to_json() for k, v in accuracy.items()}
        write_json(out / "metrics.json", metrics)
        tracker.log_file(out / FINAL)
        tracker.log_file(out / "metrics.json")
        tracker.log_summary({f"eval/accuracy/{k}": v.value for k, v in accuracy.items()})
        rows = [
            {"domain": k, "accuracy on real val pictures": f"{v:.1%}"} for k, v in accuracy.items()
        ]
        print(format_table(rows, list(rows[0])))


if __name__ == "__main__":
    raise SystemExit(run_job(TrainJudgeConfig, main, doc=__doc__))
