"""The heads of the configurations: a command, then time and score as the documents have them."""

import re
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, documents

CONFIGS = sorted((ROOT / "jobs/configs").glob("*.yaml"))
INTERVAL = re.compile(r"\([\d.]+-[\d.]+\)|[\d.]+, [\d.]+ to [\d.]+\b")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_a_head_says_what_to_expect(config: Path) -> None:
    lines = re.match(r"(#.*\n)+", config.read_text())
    assert lines is not None
    command, *rest = lines[0].splitlines()
    assert f"--config jobs/configs/{config.name}" in command
    head = " ".join(line.removeprefix("# ") for line in rest)
    assert re.search(r"minutes|hour|core-seconds|not measured", head)
    assert INTERVAL.search(head) or "not measured" in head
    cards = (card.read_text() for card in ROOT.glob("hw2/assets/*/card.md"))
    known = "\n".join([*(page.read_text() for page in documents()), *cards]).replace(" | ", ", ")
    assert [found for found in INTERVAL.findall(head) if found not in known] == []
