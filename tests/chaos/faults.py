"""What is done to a training; each function takes one that runs and deals one blow at random."""

import os
import signal
import time

from tests.chaos.cluster import Cluster
from tests.chaos.training import Disturbed
from tests.jobs.command import send
from tests.stores import Server


def kill_job(run: Disturbed, last: int) -> None:
    """The driver's process, which without Ray is all of the job; then the same command again."""
    moment = run.wait_for_moment(last)
    run.job.kill()
    fault = "SIGKILL of the driver" if run.workers else "SIGKILL of a job without Ray"
    run.struck(fault, moment, True)


def kill_worker(run: Disturbed, last: int) -> None:
    """One worker of the Ray Train group, which is replaced."""
    _hit_worker(run, last, signal.SIGKILL, "SIGKILL of a worker")


def stop_worker(run: Disturbed, last: int) -> None:
    """One worker is stopped: it is noticed and replaced, and then wakes beside its successor."""
    stopped = _hit_worker(run, last, signal.SIGSTOP, "SIGSTOP of a worker, SIGCONT once replaced")
    send(stopped, signal.SIGCONT)


def _hit_worker(run: Disturbed, last: int, number: int, fault: str) -> int:
    run.wait("its workers", lambda: len(run.workers_alive()) == run.workers, 0.2)
    workers = run.workers_alive()
    moment = run.wait_for_moment(last)
    victim, begun = run.draw.choice(workers), len(run.starts())
    send(victim, number)
    run.struck(fault, moment, False)
    _wait_for_start(run, begun)
    return victim


def _wait_for_start(run: Disturbed, begun: int) -> None:
    """Until it has gone on, or ended: the worker may have lived until the last step was done."""
    run.wait("a start", lambda: len(run.starts()) > begun or run.job.poll() is not None, 0.05)


def kill_raylet(run: Disturbed, last: int, cluster: Cluster) -> None:
    """The raylet of the second node, which then joins anew."""
    node = cluster.node
    raylet = node.raylet()
    moment = run.wait_for_moment(last)
    os.kill(raylet, signal.SIGKILL)
    run.struck("SIGKILL of a node's raylet", moment, False)
    begun = len(run.starts())
    node.kill()
    cluster.join()
    _wait_for_start(run, begun)


def kill_head(run: Disturbed, last: int, cluster: Cluster) -> None:
    """The head with all that runs there, the driver too; then a new head, and the job again.

    The worker on the other node lives on for a while, and knows of nothing.
    """
    moment = run.wait_for_moment(last)
    cluster.head.kill()
    run.job.kill()
    cluster.start_head()
    cluster.join()
    run.struck("SIGKILL of the head", moment, True)


def take_mlflow_away(run: Disturbed, last: int, server: Server, seconds: float) -> None:
    """The tracking server is away for so long; the same command again delivers what is left."""
    moment = run.wait_for_moment(last)
    server.kill()
    run.struck(f"MLflow server away for {seconds:g} s", moment, False)
    time.sleep(seconds)
    server.start()
    server.wait()
    assert run.job.wait() == 0, run.say()
    run.start()
