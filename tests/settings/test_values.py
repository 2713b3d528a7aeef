"""What settings refuse, whichever job has them."""

from pathlib import Path

import pytest

from hw2.config import JobConfig, load
from hw2.errors import ConfigError
from hw2.settings.faces import EtaSheetConfig
from hw2.settings.grading import GradeConceptsConfig
from hw2.settings.personalize import (
    CustomDiffusionConfig,
    GenerateConceptsConfig,
    MergeConceptsConfig,
)
from hw2.settings.report import ReportConfig

REPORT = Path(__file__).parents[2] / "jobs" / "configs" / "report_local.yaml"
GIVEN: dict[type, tuple[str, str]] = {  # what has no default
    GradeConceptsConfig: ("--generated", "drawn"),
    ReportConfig: ("--config", str(REPORT)),
}


@pytest.mark.parametrize(
    ("settings", "key", "value", "what"),
    [
        (EtaSheetConfig, "noises", "00,00", "noise"),
        (EtaSheetConfig, "etas", "0,0.0", "eta"),
        (ReportConfig, "languages", "en,en", "language"),
        (GenerateConceptsConfig, "sources", "0,0", "concept"),
        (GradeConceptsConfig, "sources", "0,0", "concept"),
        (MergeConceptsConfig, "concepts", "a,a/", "folder"),
        (CustomDiffusionConfig, "token_names", "<a>,<a>", "token"),
    ],
)
def test_a_list_has_nothing_twice(
    settings: type[JobConfig], key: str, value: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=f"{key}.*want each {what} once"):
        load(
            settings,
            ["--out", "out", *GIVEN.get(settings, ()), f"--{key}", value],
            prog="job",
            description="",
        )
