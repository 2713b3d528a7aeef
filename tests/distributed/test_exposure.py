"""A cluster that lets in who has no token is told of; one that listens to this machine is not."""

import subprocess
import sys

import pytest

from hw2.distributed.exposure import open_to_others
from tests.jobs.command import ROOT


def test_a_cluster_bound_to_loopback_is_closed(ray_session: None) -> None:
    import ray

    assert not open_to_others(ray.get_runtime_context().gcs_address)  # and it has no token


def test_where_nobody_answers_nobody_gets_in() -> None:
    assert not open_to_others("127.0.0.1:1")


@pytest.mark.slow
def test_a_job_warns_of_a_cluster_without_a_token() -> None:
    done = subprocess.run(
        [
            "unshare",
            "--map-root-user",
            "--net",
            sys.executable,
            "-m",
            "tests.distributed.open_head",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    print(done.stderr, file=sys.stderr)
    assert done.returncode == 0
    assert "connected" in done.stderr
    (warning,) = (line for line in done.stderr.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: the Ray cluster at 10.99.0.1:")
    assert "answers other hosts without a token" in warning
