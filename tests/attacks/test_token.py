"""A real head that listens on all interfaces, and strangers who knock at each of its doors."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hw2.distributed.exposure import open_to_others
from hw2.distributed.token_file import warn_if_shared
from tests.distributed.head import Head, running_head
from tests.jobs.command import descendants
from tests.waiting import wait_for

WRONG = "f" * 64
STRANGERS = {"no token": None, "a wrong token": WRONG}
DOORS = [
    ("GET", "/api/jobs/"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/api/cluster_status"),
    ("GET", "/api/v0/nodes"),
    ("GET", "/api/v0/logs/file?node_id=x&filename=x"),
    ("GET", "/worker/cpu_profile?pid=1"),
    ("PUT", "/api/packages/gcs/x.zip"),
    ("PUT", "/api/serve/applications/"),
    ("POST", "/api/jobs/kept/stop"),
]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = tempfile.TemporaryDirectory(prefix="hw2-", dir="/tmp", ignore_cleanup_errors=True)
    with folder as path, running_head(Path(path), num_cpus=1) as head:
        yield head


def knock(url: str, method: str, token: str | None, body: object = None) -> tuple[int, bytes]:
    """Status and answer of a request."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_nobody_gets_in_without_the_token(head: Head, tmp_path: Path) -> None:
    jobs, mark = f"{head.dashboard}/api/jobs/", tmp_path / "executed"
    kept = {"entrypoint": "true", "submission_id": "kept"}
    assert knock(jobs, "POST", head.token, kept)[0] == 200
    agent = f"http://127.0.0.1:{head.ports['dashboard-agent-listen-port']}/api/job_agent/jobs/"
    wait_for(lambda: listens(head.ports["dashboard-agent-listen-port"]), 60)
    for who, token in STRANGERS.items():
        wanted = 401 if token is None else 403
        attack = {"entrypoint": f"touch {mark}"}
        for method, url, body in (
            ("POST", jobs, attack),  # a job submission
            ("POST", agent, attack),  # at the node's own agent, which the job server asks
            ("DELETE", f"{jobs}kept", None),  # a job deletion
            ("DELETE", f"{agent}kept", None),
            *((method, head.dashboard + door, None) for method, door in DOORS),
        ):
            status, answer = knock(url, method, token, body)
            assert status == wanted, (who, method, url, status, answer[:200])
            assert head.token.encode() not in answer and b"kept" not in answer
    status, answer = knock(jobs, "GET", head.token)
    assert status == 200
    assert [job["submission_id"] for job in json.loads(answer)] == ["kept"]
    assert not mark.exists()
    # Ray's own protocol asks for it too, at the address that other machines see.
    assert not open_to_others(f"127.0.0.1:{head.ports['port']}")


@pytest.mark.slow
def test_the_dashboard_is_bound_to_loopback_and_the_token_is_nowhere(head: Head) -> None:
    every = psutil.net_connections("tcp")
    listening = [one.laddr for one in every if one.status == psutil.CONN_LISTEN]
    port = head.ports["dashboard-port"]
    assert {at.ip for at in listening if at.port == port} == {"127.0.0.1"}
    told = [path for path in (head.path).rglob("*.log") if head.token in path.read_text("latin-1")]
    told += [path for path in head.path.rglob("*.out") if head.token in path.read_text("latin-1")]
    assert not told
    titles = descendants(head.node.process.pid).values()
    assert titles and not [title for title in titles if head.token in title]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_token_that_others_can_read_is_told_of(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "auth_token"
    path.write_text("0" * 64)
    path.chmod(mode)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    warn_if_shared()
    said = capsys.readouterr().err
    assert said.startswith(f"warning: others can read {path}") == (mode != 0o600)
    assert said.count("\n") == (mode != 0o600) and "0000" not in said
    for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "1" * 64)):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            warn_if_shared()
            assert capsys.readouterr().err == ""


def test_the_token_lies_where_ray_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))
    warn_if_shared()  # there is none
    assert capsys.readouterr().err == ""
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("0" * 64)
    path.chmod(0o644)
    warn_if_shared()
    assert capsys.readouterr().err.startswith(f"warning: others can read {path}")


@pytest.mark.slow
def test_make_cluster_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    words = ["sh", "-c", _recipe(), "sh"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path)}
    umask = os.umask(0)
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
    finally:
        os.umask(umask)
    token = tmp_path / ".ray" / "auth_token"
    assert done.returncode == 0, done.stderr
    assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text().strip()) == 64
    assert token.parent.stat().st_mode & 0o077 == 0
    assert token.read_text().strip() not in done.stdout + done.stderr


def _recipe() -> str:
    """What `make cluster-token` runs, with this environment's programs and no set-up."""
    done = subprocess.run(
        ["make", "--dry-run", "--silent", "cluster-token", f"BIN={Path(sys.executable).parent}"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout[done.stdout.index("umask 077") :]
