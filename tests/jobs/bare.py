"""The judge's training by plain processes, without Ray, MLflow or interruptions.

python -m tests.jobs.bare WORKERS TREE OUT
"""

import sys
from pathlib import Path

import torch
import torch.multiprocessing

from hw2.digits.judge_training import judge_training
from hw2.gradients import Place
from hw2.settings.data import DataConfig
from hw2.settings.digits import TrainJudgeConfig
from hw2.settings.training import TrainConfig
from hw2.training import train

STEPS = 40
SETTINGS = {"num_steps": STEPS, "batch_size": 12, "checkpoint_every": 5}


def worker(rank: int, world_size: int, tree: Path, out: Path) -> None:
    """Train as one of several gloo workers."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=world_size
    )
    config = TrainJudgeConfig(out=out, data=DataConfig(root=tree), train=TrainConfig(**SETTINGS))
    for _ in train(judge_training(config, out), Place(rank, world_size)):
        pass


if __name__ == "__main__":
    workers, tree, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir()
    torch.multiprocessing.start_processes(
        worker, (workers, tree, out), workers, start_method="fork"
    )
