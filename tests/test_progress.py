"""Progress on a terminal, in a log, and of a training in other processes."""

import io
import json
import time
from pathlib import Path

import pytest

from hw2 import progress as progress_module
from hw2.progress import following, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_has_whole_lines_now_and_then_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress(100, "drawing", "pictures", done=40) as bar:
        for _ in range(6):
            now[0] += 12
            bar.advance(10, "loss 0.5")
    # 36 s and 72 s after the start; 72 s is also the end. No carriage returns.
    assert capsys.readouterr().err == (
        "drawing: 70/100 pictures loss 0.5\ndrawing: 100/100 pictures loss 0.5\n"
    )


def test_a_terminal_has_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress(8, "drawing", "pictures", done=2) as bar:
        bar.advance(6)
    assert "drawing: " in terminal.getvalue() and "8/8" in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1


def test_quiet_work_says_nothing_on_a_terminal_and_in_a_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with progress(8, "drawing", "pictures", quiet=True) as bar:
            bar.advance(8)
        assert stream.getvalue() == ""


def test_a_part_of_other_work_is_told_if_it_takes_long_and_leaves_no_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        for seconds, seen in ((0.9, False), (9.0, True)):
            with progress(4, "measuring", "samples", within=True) as bar:
                for _ in range(4):
                    now[0] += seconds
                    bar.advance()
            assert ("4/4" in stream.getvalue()) == seen
        # The bar's place is blank again, for the bar of all the work.
        last = stream.getvalue().rstrip("\r").rpartition("\r")[2]
        assert last.strip() == ("" if stream.isatty() else "measuring: 4/4 samples")


def test_a_training_is_followed_by_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY_SECONDS", 0.0)
    journal = tmp_path / "journal.jsonl"

    def log(kind: str, step: int, torn: str = "") -> None:
        line = json.dumps({"kind": kind, "step": step, "values": {"train/loss": 1 / step}})
        with journal.open("a") as file:
            file.write(line + "\n" + torn)

    with following(journal, 9, "train"):  # there is no journal yet
        log("metrics", 3)
        log("tag", 5, torn='{"kind": "metrics", "st')
        time.sleep(0.8)
    with following(journal, 9, "train"):  # nothing new to tell
        pass
    assert capsys.readouterr().err == "train: 3/9 steps loss 0.3333\n"


def test_the_last_steps_are_told_though_the_block_ends_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.jsonl"
    with following(journal, 2, "train"):
        rows = [{"kind": "metrics", "step": i, "values": {"train/loss": 0.5 / i}} for i in (1, 2)]
        journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert capsys.readouterr().err == "train: 2/2 steps loss 0.2500\n"


def test_an_error_in_the_block_ends_the_following(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyError), following(tmp_path / "journal.jsonl", 2, "train"):
        raise KeyError
    assert time.monotonic() - began < 30
