"""Figures that stand in several documents are the same in all of them."""

import re

from tests.docs.documents import documents

INTERVAL = re.compile(r"([\d.]+)[^(|;\d]*\((?:range )?([\d.]+-[\d.]+)\)")


def test_the_front_page_has_the_figures_of_the_others() -> None:
    front, *pages = [page.read_text() for page in documents()]
    found = INTERVAL.findall(front)
    assert len(found) >= 8
    told = {figure for page in pages for figure in INTERVAL.findall(page)}
    assert [figure for figure in found if figure not in told] == []
