"""A cluster that lets in who has no token is told of; one with a token, or on loopback, is not."""

import os
import socket
import subprocess
import sys
import time

import grpc
import pytest
import ray

from hw2.distributed import exposure
from hw2.distributed.exposure import open_to_others, warn_if_open
from tests.jobs.command import ROOT
from tests.networks import alone


def test_a_cluster_bound_to_loopback_is_closed(
    ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_if_open()  # it has no token either
    assert capsys.readouterr().err == ""


def test_where_nobody_answers_nobody_gets_in() -> None:
    assert not open_to_others("127.0.0.1:1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "::1"])
def test_a_machine_without_network_is_closed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr(grpc, "insecure_channel", lambda address, _: pytest.fail(address))
    assert not open_to_others(f"{host}:6379")


def test_an_answer_that_does_not_come_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "PROBE_SECONDS", 0.3)
    with socket.create_server(("0.0.0.0", 0)) as silent:
        began = time.monotonic()
        assert not open_to_others(f"0.0.0.0:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 10  # gRPC itself waits for 20 s


@pytest.mark.parametrize(
    ("mode", "host"),
    [("disabled", "10.99.0.1"), ("token", "10.99.0.1"), ("disabled", "127.0.0.1")],
)
def test_a_cluster_is_asked_as_a_stranger_would(mode: str, host: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    environment |= {"http_proxy": "http://127.0.0.1:1"}  # which Ray does not use
    done = subprocess.run(
        [*alone(), sys.executable, "-m", "tests.distributed.stranger", mode, host],
        cwd=ROOT,
        env=environment,  # its own RAY_AUTH_MODE says nothing
        capture_output=True,
        text=True,
    )
    print(done.stderr, file=sys.stderr)
    assert done.returncode == 0
    names = (host, "127.0.0.1") if (mode, host) == ("disabled", "10.99.0.1") else ()
    said = "answers other hosts without a token, so anyone who reaches it may run code there"
    how = "start it with RAY_AUTH_MODE=token (docs/cluster.md)"
    # gRPC's own lines, of a connection that the head ended, come now and then.
    lines = [line for line in done.stderr.splitlines() if " chttp2_transport.cc:" not in line]
    assert lines == [f"warning: the Ray cluster at {name}:6379 {said}: {how}" for name in names]
