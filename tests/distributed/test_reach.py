"""A RAY_ADDRESS that does not answer is told soon, whatever it is that is silent there."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import pytest
from ray._private import services
from ray._private.utils import validate_socket_filepath

from hw2.distributed.reach import SOCKET_BYTES, refuse_long_folder, refuse_silent
from hw2.errors import ConfigError


@contextmanager
def refused(address: str, why: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=why) as told:
        yield
    assert str(told.value).startswith(f"RAY_ADDRESS={address}: ")
    assert str(told.value).endswith("or unset RAY_ADDRESS for a local Ray")


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with refused(f"127.0.0.1:{port}", r"no answer within 0\.5 s", monkeypatch):
        began = time.monotonic()
        try:
            refuse_silent(0.5)
        finally:
            assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nonsense", "Invalid address format"),
        ("http://127.0.0.1:8265", "where jobs are submitted .*HOST:6379"),
        ("https://head:8265", "where jobs are submitted .*HOST:6379"),
        ("ray://head:10001", r"Ray's client.*`ray job submit`.*HOST:6379"),
    ],
)
def test_no_address(address: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(address, why, monkeypatch):
        refuse_silent(0.5)


def test_a_cluster_that_ray_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: set())
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with refused("auto", "Could not find any running Ray instance", monkeypatch):
        refuse_silent(0.5)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    refuse_silent(0.5)


@contextmanager
def answering(code: grpc.StatusCode) -> Iterator[str]:
    """The address of a server that answers whatever is asked with `code`."""

    class Always(grpc.GenericRpcHandler):
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda _, asked: asked.abort(code, "no"))

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Always()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_head_that_wants_another_token_answers(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(grpc.StatusCode[code]) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        refuse_silent(5)


def test_a_proxy_for_the_web_is_not_asked_for_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(grpc.StatusCode.UNAUTHENTICATED) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        refuse_silent(5)


def test_a_server_of_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        answering(grpc.StatusCode.UNIMPLEMENTED) as address,
        refused(address, r"is no Ray head \(UNIMPLEMENTED\): start the cluster", monkeypatch),
    ):
        refuse_silent(5)


def test_something_silent_and_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    with silent, refused(address, r"no answer within 0\.5 s", monkeypatch):
        refuse_silent(0.5)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        with refused(f"127.0.0.1:{page.server_port}", "no answer|no Ray head", monkeypatch):
            refuse_silent(0.5)
        page.shutdown()


def test_a_folder_that_takes_no_sockets_of_a_local_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):  # the first is looked at first
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        for folder in ("", "scratch", "/" + "t" * 100):
            monkeypatch.setenv(name, folder)
            with pytest.raises(ConfigError, match=f"^{name}={folder}: .* set RAY_TMPDIR=/tmp"):
                refuse_long_folder()
        monkeypatch.setenv(name, "/tmp")
        refuse_long_folder()
        monkeypatch.undo()


def test_as_long_a_folder_as_ray_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    session = f"/ray/session_2026-11-30_05-11-16_800109_{os.getpid()}/sockets/plasma_store"
    folder = "/" + "t" * (SOCKET_BYTES - len(session) - 1)
    validate_socket_filepath(folder + session)
    monkeypatch.setenv("RAY_TMPDIR", folder)
    refuse_long_folder()
    with pytest.raises(OSError, match="cannot exceed"):
        validate_socket_filepath(f"{folder}t{session}")
    monkeypatch.setenv("RAY_TMPDIR", f"{folder}t")
    with pytest.raises(ConfigError, match=f"at most {len(folder)} bytes"):
        refuse_long_folder()
