"""The journal keeps each row once, through kills, torn lines and several writers."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw2.runlog.journal import Journal


def reopened(journal: Journal) -> Journal:
    return Journal(journal.path)


def steps(journal: Journal) -> list[int]:
    return [row.step for row in journal.rows()]


def test_rows_come_back_with_nan_and_infinities(journal: Journal) -> None:
    journal.append_row(1, {"loss": math.nan, "up": math.inf, "down": -math.inf, "x": 0.1})
    (row,) = reopened(journal).rows()
    assert row.step == 1 and math.isnan(row.values["loss"])
    assert (row.values["up"], row.values["down"], row.values["x"]) == (math.inf, -math.inf, 0.1)
    assert abs(row.time_ms / 1000 - time.time()) < 60


def test_steps_that_are_computed_again_are_skipped(journal: Journal) -> None:
    for step in range(6):
        assert journal.append_row(step, {"loss": 1.0})
    again = reopened(journal)  # the run resumes from a checkpoint at step 3
    assert not again.append_row(4, {"loss": 1.0})
    assert not again.append_row(5, {"loss": 1.0})
    assert again.append_row(6, {"loss": 1.0})
    assert steps(again) == list(range(7))


def test_a_late_row_is_added_behind_others_once(journal: Journal) -> None:
    for step in (5, 20):
        assert journal.append_row(step, {"loss": 1.0}, late=True)
    assert not journal.append_row(10, {"loss": 1.0})
    assert journal.append_row(10, {"loss": 1.0}, late=True)
    assert not reopened(journal).append_row(10, {"loss": 2.0}, late=True)
    assert steps(journal) == [5, 20, 10]


def test_a_line_of_a_kind_that_is_not_known_is_passed_over(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    line = {"kind": "of a later version", "time_ms": 0, "values": {"a": 1}}
    journal.path.write_text(json.dumps(line) + "\n")
    assert journal.append_row(1, {"loss": 1.0})
    assert steps(journal) == [1] and caplog.text == ""


def test_each_metric_has_its_own_steps(journal: Journal) -> None:
    journal.append_row(10, {"train/loss": 1.0})
    assert journal.append_row(10, {"train/loss": 2.0, "eval/accuracy": 0.5})
    assert [row.values for row in journal.rows()] == [{"train/loss": 1.0}, {"eval/accuracy": 0.5}]


@pytest.mark.parametrize("torn", [b'{"kind": "metrics", "st', b"\0\0\0", b"{"])
def test_a_torn_last_line_is_cut_off(journal: Journal, torn: bytes) -> None:
    journal.append_row(0, {"loss": 1.0})
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + torn)
    again = reopened(journal)
    assert steps(again) == [0]
    again.append_row(1, {"loss": 1.0})
    assert steps(again) == [0, 1]
    assert [json.loads(line)["step"] for line in again.path.open()] == [0, 1]


def test_every_cut_of_the_file_leaves_whole_rows_only(journal: Journal) -> None:
    for step in range(3):
        journal.append_row(step, {"loss": step / 3})
    content = journal.path.read_bytes()
    for size in range(len(content) + 1):
        journal.path.write_bytes(content[:size])
        again = reopened(journal)
        for step in range(3):
            again.append_row(step, {"loss": step / 3})
        assert [(row.step, row.values["loss"]) for row in again.rows()] == [
            (0, 0.0), (1, 1 / 3), (2, 2 / 3)
        ]  # fmt: skip
        again.close()


def test_an_unreadable_line_is_reported_and_left_out(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.append_row(0, {"loss": 1.0})
    journal.path.write_bytes(journal.path.read_bytes() + b"rubbish\n[1]\n")
    again = reopened(journal)
    assert again.append_row(1, {"loss": 1.0})
    assert steps(again) == [0, 1]
    assert "unreadable" in caplog.text and str(journal.path) in caplog.text


@pytest.mark.parametrize(
    ("step", "is_ours"), [(2**63 - 1, True), (2**63, False), (-1, False), (True, False)]
)
def test_numbers_that_no_store_takes_are_left_out(
    journal: Journal, step: int, is_ours: bool
) -> None:
    line = {"kind": "metrics", "time_ms": 0, "values": {"loss": 1.0}, "step": step}
    journal.path.write_text(json.dumps(line) + "\n")
    assert steps(journal) == [step] * is_ours


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("tables/x.csv", True),
        ("", False),
        ("/x", False),
        ("a//b", False),
        ("a/../../x", False),
        ("a\nb", False),
        ("x" * 400, False),
    ],
)
def test_names_of_files_are_places_below_the_run(
    journal: Journal, name: str, is_ours: bool
) -> None:
    values = {name: {"path": "x", "sha256": "0" * 64}}
    line = {"kind": "artifact", "time_ms": 0, "values": values}
    journal.path.write_text(json.dumps(line) + "\n")
    entries, _ = journal.read(0)
    assert [entry.values for entry in entries] == [values] * is_ours


def test_a_param_keeps_its_first_value(journal: Journal) -> None:
    assert journal.append_params({"lr": "1", "seed": "0"}) == {}
    assert journal.append_params({"lr": "2", "seed": "0", "new": "3"}) == {"lr": "2"}
    assert reopened(journal).latest("param") == {"lr": "1", "seed": "0", "new": "3"}


def test_tags_and_summaries_are_added_when_they_change(journal: Journal) -> None:
    journal.append_row(7, {"loss": 1.0})
    assert journal.append("summary", {"fid": math.nan})
    assert not journal.append("summary", {"fid": math.nan})
    assert journal.append("summary", {"fid": 2.0})
    assert journal.append("tag", {"a": "1"}) and not reopened(journal).append("tag", {"a": "1"})
    entries, _ = journal.read(0)
    assert [entry.step for entry in entries if entry.kind == "summary"] == [7, 7]


def test_a_file_is_added_when_its_content_changes(journal: Journal) -> None:
    picture = journal.path.parent / "sheet.png"
    picture.write_bytes(b"one")
    assert journal.append_artifact(picture, "figures")
    assert not journal.append_artifact(picture, "figures")
    picture.write_bytes(b"two")
    assert journal.append_artifact(picture, "figures")
    assert journal.latest("artifact")["figures/sheet.png"]["path"] == "sheet.png"
    with pytest.raises(FileNotFoundError):
        journal.append_artifact(picture.with_name("none.png"))


def _append_shared(path: Path, worker: int) -> None:
    journal = Journal(path)
    for step in range(200):
        journal.append_row(step, {"shared": 1.0, f"own{worker}": float(worker)})


def test_files_of_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    link = tmp_path / "link"
    link.symlink_to("out")
    (link / "x.png").write_bytes(b"picture")
    journal = Journal(link / "journal.jsonl")
    assert journal.append_artifact(link / "x.png")
    assert journal.latest("artifact")["x.png"]["path"] == "x.png"


def test_processes_that_write_at_once_keep_each_step_once(journal: Journal) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_append_shared, args=(journal.path, number)) for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for key in ("shared", "own0", "own1", "own2"):
        found = [row.step for row in journal.rows() if key in row.values]
        assert found == list(range(200)), key


WRITER = """
import sys
from pathlib import Path
from hw2.runlog.journal import Journal
journal = Journal(Path(sys.argv[1]))
step = 0
while True:
    journal.append_row(step, {"loss": step * 0.5, "filler": 1 / 3})
    step += 1
"""


def test_kill_in_mid_write_loses_and_doubles_nothing(journal: Journal) -> None:
    for _ in range(3):
        before = len(journal.path.read_bytes())
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(journal.path)])
        while len(journal.path.read_bytes()) < before + 20_000:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    rows = reopened(journal).rows()
    assert [row.step for row in rows] == list(range(len(rows))) and len(rows) > 100
    assert all(row.values["loss"] == row.step * 0.5 for row in rows)


def test_a_row_costs_microseconds(journal: Journal) -> None:
    begin = time.process_time()  # of the processor: others may have it in between
    for step in range(2000):
        journal.append_row(step, {"loss": 1.0, "lr": 0.1, "grad": 3.0})
    assert (time.process_time() - begin) / 2000 < 1e-3
    assert os.path.getsize(journal.path) < 2000 * 200
