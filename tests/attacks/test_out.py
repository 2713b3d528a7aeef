"""A folder of results that somebody else prepared: it leads no write and no upload astray."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from hw2.config import JobConfig
from hw2.errors import ConfigError
from hw2.metrics.intervals import Interval
from hw2.results import claim_out
from hw2.runlog.entries import parse
from hw2.runlog.journal import Journal
from hw2.sweeps.kept import kept_trials
from hw2.sweeps.trial import OUTCOMES, RESULT, read_trial, trial_folder
from tests.stores import start

pytest_plugins = ["tests.store_fixtures"]


def link(name: str) -> Callable[[Path, Path], None]:
    def plant(out: Path, victim: Path) -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to(victim)

    return plant


def pipe(out: Path, victim: Path) -> None:
    (out / "inputs.json").unlink()
    os.mkfifo(out / "inputs.json")


def folder_link(out: Path, victim: Path) -> None:
    (out / "checkpoints").symlink_to(victim.parent)


PLANTED = {
    **{name: link(name) for name in (
        ".lock", ".job.lock", ".save", "journal.jsonl", "journal.lock", "inputs.tmp",
        ".config.yaml.tmp", "config.yaml", ".final.safetensors.part", "metrics.json",
        "checkpoints/step_00000005/manifest.json", "tables/scores.csv",
        "trials/0123456789abcdef/result.json",
    )},
    "a pipe": pipe,
    "a folder": folder_link,
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_leads_out_is_refused_and_nothing_is_written(
    what: str, overwrite: bool, tmp_path: Path
) -> None:
    victim = tmp_path / "home/victim"
    victim.parent.mkdir()
    victim.write_text("precious")
    out = tmp_path / "out"
    claim_out(JobConfig(out=out, seed=0))  # with settings of its own, as an attacker can
    if what == "config.yaml":
        (out / what).unlink()
    PLANTED[what](out, victim)
    before = sorted(tmp_path.rglob("*"))
    for seed in (0, 1):
        with pytest.raises(ConfigError, match=r"leads out of it|no regular file") as told:
            claim_out(JobConfig(out=out, seed=seed, overwrite=overwrite))
        assert "choose another --out" in str(told.value) and "\n" not in str(told.value)
    assert victim.read_text() == "precious" and sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_a_link_and_links_within_are_taken(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    config = JobConfig(out=tmp_path / "out")
    claim_out(config)
    (tmp_path / "disk/newest").symlink_to("config.yaml")
    assert claim_out(config) == tmp_path / "out"


def test_a_folder_that_vanishes_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process of the job prunes its checkpoints."""
    config = JobConfig(out=tmp_path / "out")
    claim_out(config)
    for name in ("kept", "pruned"):
        (tmp_path / "out/checkpoints" / name).mkdir(parents=True)
    scandir, looked_at = os.scandir, []

    def racing(path: str) -> object:
        looked_at.append(Path(path).name)
        if looked_at[-1] == "pruned":
            os.rmdir(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", racing)
    claim_out(config)
    assert "out" in looked_at  # which Python 3.13 lists by it too
    below = sorted(name for name in looked_at if name != "out")
    assert below == ["checkpoints", "kept", "pruned"]  # also what came after
    (tmp_path / "out/checkpoints/kept/link").symlink_to(tmp_path)
    (tmp_path / "out/checkpoints/pruned").mkdir()
    with pytest.raises(ConfigError, match="leads out of it"):
        claim_out(config)


@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, "{", "1"])
def test_hashes_that_are_none(text: str, tmp_path: Path) -> None:
    """What another model has drawn could else pass for this one's."""
    config = JobConfig(out=tmp_path / "out")
    claim_out(config, inputs={"model": "abc"})
    sums = tmp_path / "out/inputs.json"
    for damage in (lambda: sums.write_text(text), sums.unlink):
        damage()
        with pytest.raises(ConfigError, match=r"inputs.json, which tells .* missing or damaged"):
            claim_out(config, inputs={"model": "abc"})
    claim_out(config.model_copy(update={"overwrite": True}), inputs={"model": "abc"})
    assert json.loads(sums.read_text()) == {"model": "abc"}
    assert (tmp_path / "out.old-1").is_dir()
    sums.write_text(text)
    claim_out(config)  # to what is made from no input they are nothing


def test_a_journal_uploads_no_file_of_the_users(tmp_path: Path, store: str) -> None:
    """It names files by path; MLflow would show them to everybody."""
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "id_rsa").write_text("PRIVATE KEY")
    (out / "link").symlink_to(tmp_path / "id_rsa")
    shutil.copytree(tmp_path / "out", tmp_path / "home", symlinks=True)
    (out / "good.txt").write_text("result")
    files = {
        "absolute": str(tmp_path / "id_rsa"),
        "up": "../id_rsa",
        "link": "link",
        "a/../../../../escaped": "good.txt",
        "/etc/escaped": "good.txt",
        "good.txt": "good.txt",
    }
    with (out / "journal.jsonl").open("w") as journal:
        for name, path in files.items():
            values = {name: {"path": path, "sha256": "0" * 64}}
            row = {"kind": "artifact", "time_ms": 1, "values": values, "step": 0}
            journal.write(json.dumps(row) + "\n")
    tracker = start(out, store)
    assert tracker.finish()
    client = MlflowClient(tracking_uri=store)
    folder = Path(client.get_run(tracker.run_id).info.artifact_uri.removeprefix("file://"))
    stored = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.read_text() for path in stored if path.name == "good.txt"] == ["result"]
    assert not [path for path in stored if "PRIVATE" in path.read_text()]
    assert not list(tmp_path.rglob("escaped"))
    assert not [path for path in folder.parents[1].rglob("escaped*")]


LINES = [
    b"[" * 100_000,
    b"{}",
    b"[1, 2]",
    b'{"kind": "metrics", "time_ms": 1, "values": [1], "step": 0}',
    b'{"kind": "metrics", "time_ms": 1, "values": {"loss": "0.5"}, "step": 0}',
    b'{"kind": "metrics", "time_ms": 1, "values": {"loss": 0.5}, "step": "7"}',
    b'{"kind": "metrics", "time_ms": 1, "values": {"loss": 0.5}, "step": -1}',
    b'{"kind": "metrics", "time_ms": 1, "values": {"loss": 0.5}, "step": ' + b"9" * 30 + b"}",
    b'{"kind": "artifact", "time_ms": 1, "values": {"a": "b"}, "step": 0}',
    b'{"kind": "artifact", "time_ms": 1, "values": {"a": {"path": 1, "sha256": 2}}, "step": 0}',
    # MLflow refuses such a name each time, and the files behind it would wait for ever.
    b'{"kind": "artifact", "time_ms": 1, "values": {"../a": {"path": "a", "sha256": "'
    + b"0" * 64
    + b'"}}, "step": 0}',
    b'{"kind": "tag", "time_ms": 1, "values": {"a": {"b": 1}}, "step": 0}',
    b'{"kind": ["tag"], "time_ms": 1, "values": {}, "step": 0}',
    b'{"kind": "metrics", "time_ms": 1, "values": {}, "step": 0, "more": 1}',
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_journal_of_lies(line: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    assert parse(line, path) is None
    path.write_bytes(line + b"\n")
    journal = Journal(path)
    assert journal.append_row(3, {"loss": 0.25})  # the run goes on as if the line were not there
    assert [row.step for row in journal.rows()] == [3]
    assert "left out the unreadable line" in caplog.text and len(caplog.text) < 2000


@pytest.mark.parametrize(
    "record",
    ["[", "[]", "[" * 100_000, '{"key": "x\' or tags.a = \'b"}', '{"key": 7, "run_id": "0"}', "{}"],
)
def test_a_run_that_is_none(record: str, tmp_path: Path, store: str) -> None:
    """The key becomes part of a search in the store."""
    (tmp_path / "mlflow_run.json").write_text(record)
    tracker = start(tmp_path, store)
    assert tracker.finish()
    kept = json.loads((tmp_path / "mlflow_run.json").read_text())
    assert len(kept["key"]) == 32 and kept["run_id"] == tracker.run_id
    assert kept["tracking_uri"] == store  # whatever it said


_WHOLE = '{"seconds": 1, "error": "", "trace": "", "reports": [{"samples": 5, "scores": {}}]}'
RESULTS = [
    *("{}", "[]", "[" * 100_000, '{"reports": 1}', '{"reports": [{"samples": "x"}]}'),
    _WHOLE.replace("5", "1e999"),
    _WHOLE.replace("1,", f"{10**400},"),
    _WHOLE.replace("{}", '{"accuracy": {"value": [], "low": 0, "high": 1}}'),
]


@pytest.mark.parametrize("text", RESULTS)
def test_a_trial_that_lies_is_drawn_again(text: str, tmp_path: Path) -> None:
    point = {"guidance_weight": 1.0}
    folder = trial_folder(tmp_path, point)
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(text)
    assert read_trial(tmp_path, point).reports == ()
    (folder / "point.json").write_text(text)
    other = tmp_path / "trials" / "elsewhere"
    shutil.copytree(folder, other)
    (other / "point.json").write_text(json.dumps(point))  # and a folder of another's name
    assert kept_trials(tmp_path) == []
    (folder / "point.json").write_text(json.dumps(point))
    scores = {"accuracy": Interval(0.5, 0.4, 0.6).to_json()}
    kept = {"reports": [{"samples": 5, "scores": scores}], "seconds": 1, "error": "", "trace": ""}
    (folder / RESULT).write_text(json.dumps(kept))
    assert [trial.samples for trial in kept_trials(tmp_path)] == [0]  # where are its outcomes?
    np.savez(folder / OUTCOMES, accuracy=np.ones(5))
    assert [trial.samples for trial in kept_trials(tmp_path)] == [5]
