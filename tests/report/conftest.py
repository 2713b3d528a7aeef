"""A small report for each test, and what the page is made of where none changes it."""

from pathlib import Path

import pytest

from hw2.report.content import Content, collect
from tests.report.small_report import SmallReport


@pytest.fixture
def small(tmp_path: Path) -> SmallReport:
    return SmallReport(tmp_path)


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Of a report that no test changes."""
    return collect(SmallReport(tmp_path_factory.mktemp("small")).all())
