"""A training of milliseconds a step: noisy regression by a small network.

toy_process("kill", OUT, SEED)      train in processes that are killed at random moments
toy_process("gloo", OUT, WORKERS, BATCH_SIZE)   train with several workers
toy_process("lost", OUT, WORKERS, STEP)     the same into OUT's run, where worker 0 loses a row

All fork, which pytest's own process, with the threads of other tests, must not: they are forked
from a process that has imported what they need.
"""

import errno
import json
import multiprocessing
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.multiprocessing
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.distributed.agreeing import agree
from hw2.errors import Hw2Error
from hw2.events import Begun, Kept, Row, Saved
from hw2.gradients import Place
from hw2.runlog.tracker import Tracker
from hw2.running import run
from hw2.settings.training import TrainConfig
from hw2.training import Training, train

KILLED: dict[str, int] = {"num_steps": 150, "checkpoint_every": 5}


class Pairs(NamedTuple):
    """Inputs (b, 4) and targets (b, 1)."""

    x: Tensor
    y: Tensor


class PairSource:
    """Inputs that depend on (step, sample) alone; the target is their sum."""

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> Pairs:
        x = CounterRandom(7, step, samples).normal(Stream.START, 4)
        return Pairs(x, x.sum(1, keepdim=True))


def noisy_error(
    net: nn.Module, batch: Pairs, random: CounterRandom
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error on inputs with a little noise, and the mean absolute one to log."""
    noise = random.normal(Stream.NOISE, 4)
    wrong = net(batch.x + 0.1 * noise) - batch.y
    return wrong.square().mean(), {"wrong": wrong.detach().abs().mean()}


def toy_net() -> nn.Module:
    """A network of two layers whose initial weights never change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 1))


def toy_train(
    out: Path, place: Place | None = None, net: nn.Module | None = None, **settings: Any
) -> Generator[Begun | Row | Saved | Kept, None, None]:
    """`hw2.training.train` on the toy, float32, 12 steps with a checkpoint every third."""
    wanted = {"num_steps": 12, "batch_size": 8, "checkpoint_every": 3, "warmup_steps": 2}
    config = TrainConfig(**{**wanted, "precision": "fp32", **settings})
    training = Training(
        net or toy_net(), noisy_error, PairSource(), config, 5, out, {"kind": "toy"}
    )
    return train(training, place)


def _train_and_tell(out: Path, steps: Connection) -> None:
    for event in toy_train(out, **KILLED):
        steps.send(event.step)


def kill_at_random(out: Path, seed: int) -> None:
    """Train with settings KILLED; SIGKILL each process somewhere in a step, go on with another."""
    draw, done, kills, ended = random.Random(seed), 0, 0, False
    fork = multiprocessing.get_context("fork")
    while not ended:  # also one that was killed after its last step
        heard, told = fork.Pipe(duplex=False)
        process = fork.Process(target=_train_and_tell, args=(out, told))
        process.start()
        told.close()
        stop = done + draw.randint(1, 30)
        try:
            while (done := heard.recv()) < stop:
                pass
            time.sleep(draw.random() * 0.03)  # in a step, or in the writing of a checkpoint
            process.kill()
            kills += 1
        except EOFError:  # it came to its end
            ended = True
        process.join()
    print(kills)


def _meet(rank: int, world_size: int, out: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=world_size
    )


def _own(out: str, rank: int) -> Path:
    own = Path(out, str(rank))
    return own if own.is_dir() else Path(out)


def _worker(rank: int, world_size: int, out: str, batch_size: int) -> None:
    """Train in `out`, or in a folder there that this worker alone sees; worker 0 keeps its rows."""
    _meet(rank, world_size, out)
    folder = _own(out, rank)
    events = toy_train(folder, Place(rank, world_size), batch_size=batch_size)
    rows = [vars(event) for event in events if isinstance(event, Row)]
    if rank == 0:
        (folder / "rows.json").write_text(json.dumps(rows))
    torch.distributed.destroy_process_group()


def _loser(rank: int, world_size: int, out: str, step: int) -> None:
    """Say what ended this worker, when worker 0 could not keep the row of `step`.

    It trains in `out`, or in a folder there that it alone sees.
    """
    _meet(rank, world_size, out)
    words = [f"of {one}" for one in range(world_size)]
    assert agree(None, world_size, words[rank]) == words
    keep = Tracker.log_row

    def log_row(tracker: Tracker, at: int, values: dict[str, float]) -> None:
        if at == step:
            raise OSError(errno.ENOSPC, "No space left on device", "journal")
        keep(tracker, at, values)

    def saved(step: int, error: Hw2Error | None = None) -> None:
        agree(error, world_size)

    Tracker.log_row = log_row  # type: ignore[method-assign]
    config = TrainConfig(num_steps=12, batch_size=8, checkpoint_every=3, precision="fp32")
    training = Training(toy_net(), noisy_error, PairSource(), config, 5, _own(out, rank))
    try:
        run(training, Place(rank, world_size), saved)
    except Hw2Error as error:
        os.write(1, f"{error}\n".encode())  # at once: two processes write here
    torch.distributed.destroy_process_group()


def _said_to(folder: Path, how: str, out: Path, *numbers: int) -> None:
    for number, name in ((1, "out"), (2, "err")):
        with (folder / name).open("w") as file:
            os.dup2(file.fileno(), number)
    torch.set_num_threads(1)
    if how == "kill":
        kill_at_random(out, *numbers)
    else:
        world, batch = numbers
        torch.multiprocessing.start_processes(
            _worker if how == "gloo" else _loser,
            (world, str(out), batch),
            world,
            start_method="fork",
        )


def toy_process(how: str, out: Path, *numbers: int) -> str:
    """What it prints; CalledProcessError, with what was said, if it fails."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(
        ["hw2.distributed.train", "hw2.running", "torch.multiprocessing",
         "torch._dynamo"]  # which the first optimizer imports
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        process = server.Process(target=_said_to, args=(Path(folder), how, out, *numbers))
        process.start()
        process.join()
        said, failed = (Path(folder, name).read_text() for name in ("out", "err"))
    if process.exitcode:
        raise subprocess.CalledProcessError(process.exitcode, how, said, failed)
    return said
