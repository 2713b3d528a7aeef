"""What settings refuse, whichever job has them."""

from pathlib import Path

import pytest

from hw2.config import JobConfig, load
from hw2.errors import ConfigError
from hw2.settings.clip import TrainClipConfig
from hw2.settings.digits import SampleDigitsConfig
from hw2.settings.faces import EtaSheetConfig, TrainFacesConfig
from hw2.settings.grading import GradeConceptsConfig
from hw2.settings.personalize import (
    CustomDiffusionConfig,
    GenerateConceptsConfig,
    MergeConceptsConfig,
)
from hw2.settings.report import ReportConfig, Step
from hw2.settings.text2image import TrainAutoencoderConfig, TrainText2ImageConfig

REPORT = Path(__file__).parents[2] / "jobs" / "configs" / "report_local.yaml"
GIVEN: dict[type, tuple[str, str]] = {  # what has no default
    GradeConceptsConfig: ("--generated", "drawn"),
    ReportConfig: ("--config", str(REPORT)),
    **dict.fromkeys(
        (TrainAutoencoderConfig, TrainClipConfig, TrainFacesConfig, TrainText2ImageConfig),
        ("--train.num_steps", "1"),
    ),
}


def refused(settings: type[JobConfig], words: list[str], told: str) -> None:
    given = ["--out", "out", *GIVEN.get(settings, ()), *words]
    with pytest.raises(ConfigError, match=told):
        load(settings, given, prog="job", description="")


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
    refused(settings, [f"--{key}", value], f"{key}.*want each {what} once")


@pytest.mark.parametrize(
    ("settings", "words", "told"),
    [
        (TrainFacesConfig, "--network.channels 32,64,64,64,64,64", "each an integer >= 64 and a"),
        (TrainFacesConfig, "--image_size 48", "image_size=48 .* a multiple of 32"),
        (TrainFacesConfig, "--train.ema_width 0.3", "want a number > 0 and <= 0.28"),
        (TrainFacesConfig, "--train.betas 0.9,1", "train.betas=.* >= 0 and < 1"),
        (TrainFacesConfig, "--train.batch_size 1048577", "train.batch_size=.* <= 1048576"),
        (
            TrainFacesConfig,
            "--train.batch_size 2 --scaling.num_workers 3",
            "train.batch_size=2 is smaller than scaling.num_workers=3",
        ),
        (
            TrainFacesConfig,
            "--train.batch_size 2 --train.accumulate 3",
            "train.accumulate=3 is more than train.batch_size=2: a pass needs a picture",
        ),
        (SampleDigitsConfig, "--num_per_class 1000001", "num_per_class=1000001 .* <= 1000000"),
        (TrainAutoencoderConfig, "--image_size 30", "image_size=30 is no multiple of 4"),
        (TrainText2ImageConfig, "--text.heads 3", r"text.heads=3 does not divide \(64,\)"),
        (TrainText2ImageConfig, "--network.heads 3", r"network.heads=3 does not divide \(64, 112"),
        (TrainText2ImageConfig, "--text.context_length 78", "context_length=78 .* <= 77"),
        (TrainClipConfig, "--network.text.context_length 2", "context_length=2 .* >= 3"),
        (
            CustomDiffusionConfig,
            "--sources 0,1 --initializer_tokens cat",
            "initializer_tokens has 1 entries for 2 sources: want one each",
        ),
        (GenerateConceptsConfig, "--guidance_weight -1.5", "guidance_weight=-1.5 .* >= -1"),
        (SampleDigitsConfig, "--guidance_weight -1.5", "guidance_weight=-1.5 .* >= -1"),
    ],
)
def test_values_that_no_job_could_work_with(
    settings: type[JobConfig], words: str, told: str
) -> None:
    refused(settings, words.split(), told)


@pytest.mark.parametrize("key", ["out", "overwrite", "config", "help", "print_config"])
def test_a_step_leaves_what_the_report_gives_it(key: str) -> None:
    with pytest.raises(ValueError, match=f"leave {key} out of settings: the report gives it"):
        Step.model_validate({"job": "sample_digits", "settings": {key: "x"}})
