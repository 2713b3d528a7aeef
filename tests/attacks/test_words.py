"""Names from outside where people read them, and secrets where they must not."""

import csv
import io
import logging
import sys
from pathlib import Path

import pytest

from hw2.disclosure import as_text, brief, describe, guarded_output, mask, masked, one_line, plain
from hw2.metrics.table import format_table
from hw2.progress import progress
from tests.stores import start

pytest_plugins = ["tests.store_fixtures"]

EVIL = "\x1b[2J\x1b]0;owned\x07\u202egpj.exe\u2066\r\n\x9bA\x00"


def test_names_show_what_they_are() -> None:
    shown = plain(EVIL)
    assert shown == r"\x1b[2J\x1b]0;owned\x07\u202egpj.exe\u2066\r" + "\n" + r"\x9bA\x00"
    assert one_line("a\nb\t c") == "a b c"
    assert plain("naïve 日本語 👩‍🔬 العربية\tx\n") == "naïve 日本語 👩‍🔬 العربية\tx\n"
    assert plain("\ud800") == r"\ud800"


def test_an_error_is_told_in_one_short_line_without_keys() -> None:
    error = ValueError("no answer from\nhttps://me:secret@host/\x1b[2J " + "x" * 300 + " (refused)")
    told = describe(error)
    assert told.startswith(r"ValueError: no answer from https://***@host/\x1b[2J x")
    assert len(told) == 250 and told.endswith("x (refused)")
    assert describe(KeyError(3)) == "KeyError: 3"
    assert brief("a\nb") == "a b" and brief("a" * 4000) == "a" * 4000
    told = brief(f"x.safetensors: {'n' * 10**6}: give\nanother")
    assert len(told) == 4000 and told.startswith("x.safetensors: n") and " .. n" in told
    assert told.endswith("n: give another")


def test_a_table_on_a_terminal_keeps_its_lines() -> None:
    told = format_table([{"class": EVIL, "value": "1"}, {"class": "cat", "value": "2"}], ["class"])
    assert len(told.splitlines()) == 6 and "\x1b" not in told and "\u202e" not in told


def test_progress_shows_no_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, "sweep", "trials") as bar:
        bar.advance(1, EVIL)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\x1b" not in said and "owned" in said


FORMULAS = ["=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=1\n"]


def test_cells_are_texts_and_numbers_stay() -> None:
    for formula in FORMULAS:
        assert as_text(formula) == f"'{formula}"
    for value in (-1.5, 3, None, True, "-1.5", "+2", "-1e-3", "-inf", "cat", "a=b", "", "'x"):
        assert as_text(value) == value


def test_tables_of_a_run_hold_no_formulas(tmp_path: Path, store: str) -> None:
    tracker = start(tmp_path, store)
    rows = [{"path": name, "score": -0.5, "text": "-0.25"} for name in FORMULAS]
    tracker.log_table("hits", rows)
    tracker.close()
    with (tmp_path / "tables/hits.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["path"] for row in read] == [f"'{name}" for name in FORMULAS]
    assert {row["score"] for row in read} == {"-0.5"} and {row["text"] for row in read} == {"-0.25"}


SECRETS = {
    "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
    "MLFLOW_TRACKING_PASSWORD": "correct horse",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "MLFLOW_TRACKING_URI": "https://me:s%2Fecret-of-uri@tracking.example",
    "AZURE_STORAGE_ACCOUNT_KEY": "azure-key==",
}


@pytest.mark.parametrize(
    "text",
    [
        "token 0123456789abcdef0123456789abcdef refused",
        "s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY@bucket/a",
        "s3://bucket/a?region=x&access_key=AKIAIOSFODNN7EXAMPLE&secret_key=wJalrXUtnFEMI",
        "postgresql+psycopg2://me:correct horse@db/mlflow",
        "login failed for s/ecret-of-uri",
        "headers {'Authorization': 'Bearer correct horse', 'authorization': 'Basic bWU6cHc='}",
        "gs://b?credential_kind=x&secret_token=abc;sig=azure-key==",
    ],
)
def test_no_secret_survives(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    hidden = ["0123456789abcdef", "correct horse", "wJalr", "ecret-of-uri", "AKIA", "bWU6", "=abc"]
    shown = mask(text)
    assert not [secret for secret in [*hidden, "azure-key"] if secret in shown], shown
    assert masked({"a": [text, 1, None], text: (text,)}) == {"a": [shown, 1, None], shown: (shown,)}


def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "very-false")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/.ray/auth_token")
    monkeypatch.setenv("SOME_TOKEN", "short")
    for text in (
        "token_name='<new1>': want one word",
        "key=value, seed=0: very-false /home/me/.ray/auth_token is short",
        "sqlite:////home/me@work/mlflow.db",
        "https://docs.example/page?id=3#key",
    ):
        assert mask(text) == text


def test_all_that_is_printed_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRETS["RAY_AUTH_TOKEN"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    said = f"my token is {SECRETS['RAY_AUTH_TOKEN']}"
    with guarded_output():
        print(said, end="", flush=True)
        handler = logging.StreamHandler()  # as any library makes one
        logging.getLogger("attacked").addHandler(handler)
        logging.getLogger("attacked").error(said)
        logging.getLogger("attacked").removeHandler(handler)
        assert not sys.stderr.isatty()
    try:
        raise RuntimeError(said)
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert sys.stdout is out and out.getvalue() == "my token is ***"
    assert err.getvalue().startswith("my token is ***\nTraceback")
    assert err.getvalue().endswith("RuntimeError: my token is ***\n")
