"""A RAY_ADDRESS that does not answer is told soon, whatever it is that is silent there."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hw2.distributed.reach import refuse_silent
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
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with refused(address, r"no answer within 0\.5 s", monkeypatch):
            refuse_silent(0.5)


def test_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("nonsense", "Invalid address format", monkeypatch):
        refuse_silent(0.5)
    with refused("http://127.0.0.1:8265", "where jobs are submitted .*HOST:6379", monkeypatch):
        refuse_silent(0.5)


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
