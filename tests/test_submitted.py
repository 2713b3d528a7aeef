"""A job under `ray job submit` keeps nothing in its copy of the code."""

from pathlib import Path

import pytest

from hw2.errors import ConfigError
from hw2.settings.data import PrepareDataConfig
from hw2.settings.digits import SampleDigitsConfig
from hw2.submitted import refuse_lost


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a submitted job."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def sampling(out: Path | str) -> SampleDigitsConfig:
    return SampleDigitsConfig(out=Path(out), model="asset:digits")


def test_results_in_the_copy_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://head:5000")
    for config in (sampling("outputs/x"), sampling(copy / "x"), PrepareDataConfig()):
        with pytest.raises(ConfigError, match=f"^out={config.out} lies in this job's copy"):
            refuse_lost(config)
    for place in ("/shared/x", "s3://bucket/x"):
        refuse_lost(sampling(place))


def test_metrics_in_the_copy_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("", "sqlite:///mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI, by --runtime-env-json"):
            refuse_lost(sampling("/shared/x"))
    refuse_lost(PrepareDataConfig(out=Path("/shared/x")))  # it has no run
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://db/x")
    with pytest.raises(ConfigError, match="is a database, which keeps no files of runs"):
        refuse_lost(sampling("/shared/x"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////shared/mlflow.db")
    refuse_lost(sampling("/shared/x"))


def test_elsewhere_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_lost(sampling("outputs/x"))
