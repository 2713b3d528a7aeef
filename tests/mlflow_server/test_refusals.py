"""What the tracking server refuses before it starts, and how it keeps its passwords."""

import http.server
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pydantic import ValidationError

from hw2.disclosure import HIDDEN
from hw2.errors import ConfigError
from hw2.mlflow_server import database, postgres
from hw2.mlflow_server.__main__ import (
    claimed,
    command,
    environment,
    refuse_taken,
    tell,
    wait_until_up,
)
from hw2.mlflow_server.database import Database, opened
from hw2.mlflow_server.kept import kept_secret, write_private
from hw2.runlog.addresses import sqlite_file
from hw2.settings.mlflow_server import ADDRESS, MlflowServerConfig
from hw2.tracking import prepare_store
from tests.ports import free_port


def test_a_password_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "password"
    made = kept_secret(path, "NO_SUCH_VARIABLE")
    assert len(made) >= 32
    assert kept_secret(path, "NO_SUCH_VARIABLE") == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["password"]
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}") as caught:
        kept_secret(path, "NO_SUCH_VARIABLE")
    assert made not in str(caught.value)
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"{path} is empty: .* or set NO_SUCH_VARIABLE"):
        kept_secret(path, "NO_SUCH_VARIABLE")


def test_half_a_password_of_a_start_that_was_killed_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".password.tmp").write_text("ha")
    assert len(kept_secret(tmp_path / "password", "NO_SUCH_VARIABLE")) >= 32
    assert [one.name for one in tmp_path.iterdir()] == ["password"]


def test_what_settings_decide_is_written_at_each_start(tmp_path: Path) -> None:
    for text in ("of before", "of now"):
        write_private(tmp_path / "accounts.ini", text)
        assert (tmp_path / "accounts.ini").read_text() == text


@pytest.mark.parametrize(("host", "open_to_others"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_server_that_others_reach_tells_what_travels_openly(
    host: str, open_to_others: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(MlflowServerConfig(host=host, allowed_hosts=("lab",), folder=tmp_path), tmp_path)
    assert ("put TLS in front" in capsys.readouterr().out) == open_to_others


@pytest.mark.parametrize(
    ("host", "address"), [("localhost", "http://localhost:5001"), ("::1", "http://[::1]:5001")]
)
def test_the_server_tells_where_it_is_and_where_its_password_lies(
    host: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MLFLOW_AUTH_ADMIN_PASSWORD", raising=False)
    for place in (f"in {tmp_path}/admin_password", "as the first start was told"):
        tell(MlflowServerConfig(host=host, port=5001), tmp_path)
        told = f"MLflow: {address} for this machine; account admin, password {place}\n"
        assert capsys.readouterr().out == told
        monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "hunter22")


class Healthy(http.server.BaseHTTPRequestHandler):
    """An MLflow that is up."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *words: object) -> None: ...


class IPv6Server(http.server.HTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_that_answers_is_up_whatever_proxy_is_set(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    kind = IPv6Server if ":" in host else http.server.HTTPServer
    try:
        listening = kind((host, 0), Healthy)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listening as answering:
        threading.Thread(target=answering.serve_forever, daemon=True).start()
        with subprocess.Popen(["sleep", "20"]) as process:
            wait_until_up(MlflowServerConfig(host=host, port=answering.server_port), process)
            process.terminate()
        answering.shutdown()


def test_a_server_that_ends_is_not_up() -> None:
    with subprocess.Popen(["false"]) as process:
        process.wait()
        with pytest.raises(ConfigError, match="the server did not start: MLflow's reason is above"):
            wait_until_up(MlflowServerConfig(port=free_port()), process)


def test_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD_PASSWORD", "from the environment")
    assert kept_secret(tmp_path / "password", "TOLD_PASSWORD") == "from the environment"
    assert list(tmp_path.iterdir()) == []


def test_nothing_secret_on_the_command_line_and_nothing_that_weakens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://minio")
    database = Database("sqlite:////x/mlflow.db", "sqlite:////x/a%20b.db", {"PGHOST": "/x"})
    config = MlflowServerConfig()
    given = environment(config, tmp_path, database)
    secrets = [given["MLFLOW_AUTH_ADMIN_PASSWORD"], given["MLFLOW_FLASK_SERVER_SECRET_KEY"]]
    assert secrets == [
        (tmp_path / name).read_text().strip() for name in ("admin_password", "secret_key")
    ]
    assert not set(secrets) & set(" ".join(command(config, tmp_path)).split())
    assert {"MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "MLFLOW_TRACKING_URI"}.isdisjoint(given)
    assert given["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert (given["MLFLOW_S3_ENDPOINT_URL"], given["PGHOST"]) == ("http://minio", "/x")
    assert (tmp_path / "artifacts").stat().st_mode & 0o777 == 0o700
    accounts = tmp_path / "accounts.ini"
    assert "database_uri = sqlite:////x/a%%20b.db\n" in accounts.read_text()
    assert accounts.stat().st_mode & 0o777 == 0o600


def artifacts_of(folder: Path, **settings: str) -> str:
    """Where the server that is started from the working folder puts the files of runs."""
    words = command(MlflowServerConfig(**settings), folder)
    return words[words.index("--artifacts-destination") + 1]


def test_artifacts_are_named_from_where_the_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "server"
    (folder / "artifacts").mkdir(parents=True)  # as each start makes it
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert artifacts_of(folder) == str(folder / "artifacts")
    assert artifacts_of(folder, artifacts="files/of runs") == str(tmp_path / "files/of runs")
    assert artifacts_of(folder, artifacts="artifacts") == str(tmp_path / "artifacts")
    assert artifacts_of(folder, artifacts="server/artifacts") == str(folder / "artifacts")
    assert artifacts_of(folder, artifacts="~/files") == str(tmp_path / "home/files")
    for whole in ("/srv/files", "s3://bucket/files", "file:///srv/files"):
        assert artifacts_of(folder, artifacts=whole) == whole


def test_files_where_an_older_version_put_them_are_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name meant a place in the server's folder."""
    monkeypatch.chdir(tmp_path)
    before = tmp_path / "server" / "files"
    (before / "1").mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"artifacts=files: .* --artifacts {before},"):
        artifacts_of(tmp_path / "server", artifacts="files")
    assert artifacts_of(tmp_path / "server", artifacts=str(before)) == str(before)
    before.rename(tmp_path / "files")
    assert artifacts_of(tmp_path / "server", artifacts="files") == str(tmp_path / "files")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "host=0.0.0.0 lets others in"),
        ({"host": "mlflow.example.org"}, "host=mlflow.example.org lets others in"),
        ({"allowed_hosts": ["*"]}, "without port or wildcard"),
        ({"allowed_hosts": ["mlflow.example.org:5000"]}, "without port or wildcard"),
        ({"allowed_hosts": ["a,b"]}, "without port or wildcard"),
        ({"database": "mysql://db/mlflow"}, "want own, sqlite or postgresql://"),
    ],
)
def test_settings_that_open_more_than_was_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MlflowServerConfig(**settings)


def test_help_names_the_command_and_the_mask_leaves_it_whole(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hw2.mlflow_server"]
    shown = subprocess.run([*words, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0 and HIDDEN not in shown.stdout
    assert shown.stdout.startswith("usage: python -m hw2.mlflow_server [--config FILE]")
    assert "example: python -m hw2.mlflow_server --folder mlflow-server --" in shown.stdout
    words += ["--database", "mysql://db/mlflow"]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2 and f"or {ADDRESS}" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_hosts_and_origins_are_the_servers_own() -> None:
    alone = MlflowServerConfig(port=5001)
    assert alone.is_loopback
    assert alone.host_headers == [
        "localhost", "127.0.0.1", "[::1]", "localhost:5001", "127.0.0.1:5001", "[::1]:5001"
    ]  # fmt: skip
    named = MlflowServerConfig(host="0.0.0.0", allowed_hosts=["mlflow.example.org"])
    assert not named.is_loopback
    assert {"mlflow.example.org", "mlflow.example.org:5000"} <= set(named.host_headers)
    assert "https://mlflow.example.org" in named.origins


def test_accounts_are_closed_to_others_also_where_the_file_was_there(tmp_path: Path) -> None:
    (tmp_path / "accounts.db").touch(0o644)
    with opened("sqlite", tmp_path) as found:
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"mlflow.db": 0o600, "accounts.db": 0o600}
    assert sqlite_file(found.uri) == tmp_path / "mlflow.db"
    assert sqlite_file(found.accounts_uri) == tmp_path / "accounts.db"


def test_a_password_in_the_database_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    for address in ("postgresql://me:hunter2@db/x", "postgresql://db/x?password=hunter2"):
        with (
            pytest.raises(ConfigError, match="set PGPASSWORD or write") as caught,
            opened(address, tmp_path),
        ):
            pass
        assert "hunter2" not in str(caught.value)


def test_a_database_that_is_away_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter22")
    address = f"postgresql://me@127.0.0.1:{free_port()}/x"
    with (
        pytest.raises(ConfigError, match=r"cannot be used .*Connection refused") as caught,
        opened(address, tmp_path),
    ):
        pass
    assert "\n" not in str(caught.value) and "hunter22" not in str(caught.value)


def test_no_postgresql_is_told_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ConfigError, match="apt-get install postgresql, or --database sqlite"),
        opened("own", tmp_path),
    ):
        pass
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("name", ["long" * 30, "長" * 40])  # of 120 bytes each
def test_a_folder_too_long_for_a_socket(name: str, short_folder: Path) -> None:
    folder = short_folder / name
    with pytest.raises(ConfigError, match="choose a shorter --folder"), opened("own", folder):
        pass
    assert not folder.exists()


def test_a_folder_is_made_through_which_others_pass_and_see_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "on" / "the way"
    with claimed(folder):
        assert folder.stat().st_mode & 0o777 == 0o711
    (tmp_path / "file").touch()
    for taken in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=f"cannot use folder={taken} "), claimed(taken):
            pass


def test_a_folder_serves_one_server_and_a_port_too(tmp_path: Path) -> None:
    with (
        claimed(tmp_path),
        pytest.raises(ConfigError, match=f"another server runs in {tmp_path}"),
        claimed(tmp_path),
    ):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = MlflowServerConfig(port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match=f"port={config.port} .*choose another --port"):
            refuse_taken(config, patience=0.3)
        threading.Timer(0.5, taken.close).start()  # as the workers of a server that was killed
        refuse_taken(config)


def test_a_folder_keeps_its_database(tmp_path: Path) -> None:
    """Another one would be empty, as if all runs were deleted."""
    address = "postgresql://mlflow:hunter2@db/x"
    (tmp_path / "mlflow.db").touch()  # of a start that failed
    database._refuse_other("own", tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"runs")
    database._refuse_other("sqlite", tmp_path)
    for told in ("own", address):
        with pytest.raises(ConfigError, match=f"are in {tmp_path}/mlflow.db, where") as caught:
            database._refuse_other(told, tmp_path)
        assert "hunter2" not in str(caught.value)
    (tmp_path / "mlflow.db").unlink()
    (tmp_path / "postgres").mkdir()
    database._refuse_other("own", tmp_path)
    for told in ("sqlite", address):
        with pytest.raises(ConfigError, match="give --database own, or another --folder"):
            database._refuse_other(told, tmp_path)


def test_experiments_of_a_sqlite_store_keep_their_files_at_the_server(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    prepare_store(uri, "before")
    for _ in range(2):  # each start adds the rule
        Database(uri, uri).add_rule()
    client = MlflowClient(tracking_uri=uri)
    for place in ("/tmp/evil", "file:///tmp/evil", "mlflow-artifacts:/2/../evil"):
        with pytest.raises(Exception, match="files_lie_where_the_server_puts_them"):
            client.create_experiment("evil", artifact_location=place)
    assert client.get_experiment_by_name("evil") is None
    client.rename_experiment(client.get_experiment_by_name("before").experiment_id, "after")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "VALUES (7, 'as the server makes it', 'mlflow-artifacts:/7', 'active')"
        )
        for other in ("mlflow-artifacts:/1", "/tmp/evil"):
            with pytest.raises(sqlite3.IntegrityError, match="files_lie_where_the_server_puts"):
                connection.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 7", (other,)
                )


CHILD = """
import os, signal, time
from hw2.mlflow_server.children import running
with running(["sleep", "100"], signal.SIGTERM) as process:
    print(process.pid, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_children_end_with_their_parent(end: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    assert os.getpgid(child) != os.getpgid(parent.pid)  # Ctrl-C is the parent's alone
    parent.send_signal(end)
    parent.wait()
    parent.stdout.close()  # which the child holds open too
    deadline = time.monotonic() + 20
    while (lives := _lives(child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if lives:
        os.kill(child, signal.SIGKILL)
    assert not lives


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
