"""A journal to write to."""

from pathlib import Path

import pytest

from hw2.runlog.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")
