"""Figures that stand in several documents are the same in all of them."""

import re

import pytest

from hw2.settings.digits import SampleSettings
from tests.docs.documents import ROOT, documents

INTERVAL = re.compile(r"([\d.]+)[^(|;\d]*\((?:range )?([\d.]+-[\d.]+)\)")


def test_the_front_page_has_the_figures_of_the_others() -> None:
    front, *pages = [page.read_text() for page in documents()]
    found = INTERVAL.findall(front)
    assert len(found) >= 8
    told = {figure for page in pages for figure in INTERVAL.findall(page)}
    assert [figure for figure in found if figure not in told] == []


def test_the_gain_on_the_front_page_is_that_of_the_default_interval() -> None:
    rows = [
        [cell.strip() for cell in line.split("|")]
        for line in (ROOT / "docs/sweeps.md").read_text().splitlines()
    ]
    low, high = SampleSettings().guidance_interval
    by_weight, accuracies = (
        next(row for row in rows if row[2:3] == [name])
        for name in ("interval", f"{low:g}-{high:g}, the default")
    )
    rate = dict(zip(by_weight, accuracies, strict=True))
    told = re.search(r"by w=2 over w=0 \| ([\d.]+) points", (ROOT / "README.md").read_text())
    assert told is not None
    assert float(told[1]) == pytest.approx(float(rate["2"]) - float(rate["w=0"]), abs=0.11)
