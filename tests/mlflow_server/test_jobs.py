"""Jobs of two nodes against one server: all that they log comes back, and no secret with it."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.command import Folder
from tests.mlflow_server.conftest import Jobs
from tests.mlflow_server.served import Served
from tests.stores import history, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RUNS = {"train_judge": 1, "tune_guidance": 3, "clip_zero_shot": 1}  # a sweep and its two trials


def logged(out: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The run's id and the journal of each run below `out`."""
    for journal in sorted(out.rglob("journal.jsonl")):
        record = json.loads(journal.with_name("mlflow_run.json").read_text())
        yield record["run_id"], [json.loads(line) for line in journal.read_text().splitlines()]


def values(entries: list[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    """The newest value of each name."""
    return {k: v for entry in entries if entry["kind"] in kinds for k, v in entry["values"].items()}


def content(path: Path) -> bytes:
    """The bytes of a file; none if it is gone by now."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_jobs_of_both_nodes_are_done(jobs: Jobs) -> None:
    assert {name: status for name, (status, _) in jobs.ended.items()} == {
        name: "SUCCEEDED" for name in RUNS
    }, "\n".join(log for _, log in jobs.ended.values())
    told = {
        name: jobs.cluster.call("GET", f"/api/jobs/{job}").json() for name, job in jobs.ids.items()
    }
    drivers = {name: one["driver_node_id"] for name, one in told.items()}
    assert drivers["train_judge"] != drivers["tune_guidance"] == drivers["clip_zero_shot"]
    assert all(
        re.search(r"^MLflow: http://127\.0\.0\.1:\d+/#/runs/\w+$", log, re.M)
        for _, log in jobs.ended.values()
    )


def test_every_row_comes_back(served: Served, jobs: Jobs) -> None:
    client, seen = served.client, 0
    for run_id, entries in logged(jobs.folder):
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        params = values(entries, "param")
        assert params and run.data.params == params
        assert run.data.tags.items() >= values(entries, "tag").items()
        want: dict[str, list[tuple[int, float]]] = {}
        for entry in entries:
            if entry["kind"] in ("metrics", "summary"):
                for key, value in entry["values"].items():
                    want.setdefault(key, []).append((entry["step"], float(value)))
        assert want
        for key, rows in want.items():
            found = history(client.tracking_uri, run_id, key)
            assert [step for step, _ in found] == sorted(step for step, _ in rows), key
            assert all(
                a == b or (math.isnan(a) and math.isnan(b))
                for (_, a), (_, b) in zip(found, sorted(rows), strict=True)
            ), key
            seen += len(rows)
    assert seen > 100


def test_every_picture_and_table_comes_back(served: Served, jobs: Jobs) -> None:
    kinds = set()
    for run_id, entries in logged(jobs.folder):
        files = values(entries, "artifact")
        assert files
        (stored,) = served.folder.glob(f"server/artifacts/*/{run_id}/artifacts")
        for name, file in files.items():
            answer = served.call("GET", f"/get-artifact?run_uuid={run_id}&path={name}", user="bob")
            assert answer.status == 200, name
            assert hashlib.sha256(answer.body).hexdigest() == file["sha256"], name
            assert (stored / name).read_bytes() == answer.body  # it went through the server
            kinds.add(Path(name).suffix)
    assert {".png", ".csv", ".json", ".yaml", ".safetensors"} <= kinds


def test_trials_are_nested_under_their_sweep(served: Served, jobs: Jobs) -> None:
    client = served.client
    for name, count in RUNS.items():
        experiment = client.get_experiment_by_name(name)
        assert experiment.artifact_location == f"mlflow-artifacts:/{experiment.experiment_id}"
        runs = client.search_runs([experiment.experiment_id])
        assert len(runs) == count
        parents = [run.data.tags.get("mlflow.parentRunId") for run in runs]
        (root,) = (run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags)
        assert sorted(filter(None, parents)) == [root] * (count - 1)


def test_no_secret_is_logged(served: Served, jobs: Jobs) -> None:
    secrets = [secret.encode() for secret in [*served.secrets, jobs.cluster.token]]
    kept = {served.folder / "server" / name for name in ("admin_password", "secret_key")}
    assert served.accounts["admin"] in (served.folder / "server/admin_password").read_text()
    places = [path for path in served.folder.rglob("*") if path.is_file() and path not in kept]
    assert len(places) > 100  # outputs, Ray's logs, the server's files and its database
    found = [path for path in places if any(secret in content(path) for secret in secrets)]
    assert found == []
    said = "".join(log for _, log in jobs.ended.values()) + served.said
    assert not [secret for secret in secrets if secret.decode() in said]


def test_no_secret_on_a_command_line(served: Served, jobs: Jobs) -> None:
    shown = b"".join(map(content, Path("/proc").glob("[0-9]*/cmdline")))
    assert b"hw2.mlflow_server" in shown
    assert not [name for name, secret in served.accounts.items() if secret.encode() in shown]


def test_a_wrong_password_is_told_and_nothing_is_written(
    served: Served, tmp_path: Path, digits_tree: Path
) -> None:
    def runs() -> int:
        every = served.client.search_experiments()
        return len(served.client.search_runs([one.experiment_id for one in every]))

    before = runs()
    wrong = served.as_user("amy") | {"MLFLOW_TRACKING_PASSWORD": "not-amys-password"}
    words = ["--out", "out", "--data.root", digits_tree, "--scaling.num_workers", 0]
    words += ["--train.num_steps", 1]
    ended = Folder(tmp_path).run("train_judge", *words, **wrong)
    assert ended.refusal().startswith(f"the tracking server {served.address} refuses this account")
    assert "not-amys-password" not in ended.out + ended.err
    assert list(tmp_path.iterdir()) == []
    assert runs() == before


def test_a_run_moves_from_sqlite_to_the_server(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    picture = tmp_path / "out" / "sheet.png"
    picture.write_bytes(b"picture")
    with start(tmp_path / "out", f"sqlite:///{tmp_path}/mlflow.db", experiment="moved") as before:
        for step in range(30):
            before.log_row(step, {"loss": step / 8})
        before.log_figure(picture)
    for name, value in served.as_user("amy").items():
        monkeypatch.setenv(name, value)
    with start(tmp_path / "out", served.address, experiment="moved") as after:
        pass
    assert after.run_id != before.run_id
    address = served.client.tracking_uri
    assert history(address, after.run_id) == [(step, step / 8) for step in range(30)]
    path = f"/get-artifact?run_uuid={after.run_id}&path=figures/sheet.png"
    assert served.call("GET", path).body == b"picture"
