"""What a job looks at before it writes anything."""

from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from hw2 import runs, tracking
from hw2.config import JobConfig
from hw2.errors import BusyError, ConfigError
from hw2.results import claim_out
from hw2.results import set_aside as moved_aside
from hw2.settings.data import DataConfig, PrepareDataConfig
from hw2.settings.faces import SampleFacesConfig
from hw2.settings.personalize import GenerateConceptsConfig
from tests.jobs.command import Folder


def test_a_silent_tracking_server_is_told_before_anything_is_written(
    tmp_path: Path, digits_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    monkeypatch.setattr(runs, "refuse_silent", partial(tracking.refuse_silent, timeout=0.5))
    settings = {"out": "out", "data.root": digits_tree, "train.num_steps": 1}
    ended = Folder(tmp_path).run_here("train_judge", {**settings, "scaling.num_workers": 0})
    refusal = ended.refusal()
    assert refusal.startswith("the tracking store http://***@127.0.0.1:9 cannot be used within 0.5")
    assert list(tmp_path.iterdir()) == []


def test_a_later_name_renames_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, names = Folder(tmp_path), []
    for name in (None, "one", "two", None):
        with runs.job_run(JobConfig(out=Path("out"), name=name), "any"):
            pass
        names.append(folder.query("SELECT name FROM runs"))
    assert names == [[("out",)], [("one",)], [("two",)], [("two",)]]


def test_results_do_not_go_where_their_own_weights_lie(tmp_path: Path) -> None:
    """With --overwrite the weights were moved away, and the job ended without them."""
    weights = tmp_path / "trained" / "final.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    (tmp_path / "link").symlink_to(weights.parent)
    for out in (weights.parent, tmp_path / "link"):
        config = JobConfig(out=out, overwrite=True)
        refused = pytest.raises(ConfigError, match=f"model={weights} lies in out={out}, where")
        with refused, runs.job_run(config, "any", files={"model": weights}):
            pytest.fail("begun")
    assert [*weights.parent.iterdir()] == [weights]


def test_a_folder_in_which_a_job_is_at_work_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = partial(runs.job_run, experiment="any")
    with begin(JobConfig(out=Path("out"), seed=1)) as (out, _):
        for settings in ({"seed": 1}, {"seed": 2}, {"seed": 2, "overwrite": True}):
            refused = pytest.raises(BusyError, match=f"out={out}: another run is writing there")
            with refused, begin(JobConfig(out=Path("out"), **settings)):
                pytest.fail("two jobs")
        (out / "picture.png").write_bytes(b"of seed 1")
    assert Folder(tmp_path).query("SELECT status FROM runs") == [("FINISHED",)]
    with begin(JobConfig(out=Path("out"), seed=2, overwrite=True)):
        assert not (out / "picture.png").exists()
        with pytest.raises(BusyError), begin(JobConfig(out=Path("out"), seed=2)):
            pytest.fail("the new folder is not locked")
    assert (tmp_path / "out.old-1/picture.png").read_bytes() == b"of seed 1"


def test_of_two_that_move_a_folder_aside_at_once_one_begins_and_one_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = partial(runs.job_run, experiment="any")
    with begin(JobConfig(out=Path("out"), seed=1)):
        pass
    with ExitStack() as other:

        def set_aside(out: Path) -> None:
            moved_aside(out)
            other.enter_context(begin(JobConfig(out=Path("out"), seed=3)))

        monkeypatch.setattr("hw2.results.set_aside", set_aside)
        refused = pytest.raises(BusyError, match="another run is writing there")
        with refused, begin(JobConfig(out=Path("out"), seed=2, overwrite=True)):
            pytest.fail("two jobs")


def test_the_working_folder_is_not_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mlflow.db would go along, and the user's shell stay in the old one."""
    (tmp_path / "out/below").mkdir(parents=True)
    for place, name in ((tmp_path / "out", "."), (tmp_path / "out/below", "..")):
        monkeypatch.chdir(place)
        config = JobConfig(out=Path(name), overwrite=True)
        (tmp_path / "out/config.yaml").write_text("seed: 1\n")
        with pytest.raises(ConfigError, match=r"working folder, .*: cd to another, or choose ano"):
            claim_out(config)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_train_pictures_make_other_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def begin(train: str, other: str) -> AbstractContextManager[object]:
        splits = {"train": train, "val": other}
        read = {k: SimpleNamespace(content_hash=v, bad=()) for k, v in splits.items()}
        return runs.job_run(JobConfig(out=Path("out")), "any", splits=read, anew={"judge": other})

    for other in ("1", "2"):
        with begin("a", other):
            pass
    with pytest.raises(ConfigError, match=r"\(another data\.root\)"), begin("b", "2"):
        pytest.fail("of other pictures")


def test_a_data_tree_and_a_cache_are_no_bucket() -> None:
    for kind in (
        lambda: DataConfig(root="s3://bucket/x"),
        lambda: DataConfig(cache="s3://bucket/x"),
        lambda: PrepareDataConfig(out="gs://b/x"),
        lambda: PrepareDataConfig(cache="gs://b/x"),
    ):
        with pytest.raises(ValidationError, match="is no folder: want one of this machine"):
            kind()


def test_of_many_differences_the_first_are_told(tmp_path: Path) -> None:
    """As where another job's folder is given."""
    config = JobConfig(out=tmp_path / "out")
    claim_out(config, inputs={f"input {n}": "1" for n in range(9)})
    told = r"\(another input 0; .*another input 5; and 3 more\): choose another --out"
    with pytest.raises(ConfigError, match=told):
        claim_out(config, inputs={f"input {n}": "2" for n in range(9)})


def test_a_folder_of_another_job_is_told_as_that(tmp_path: Path) -> None:
    claim_out(SampleFacesConfig(out=tmp_path / "out"))
    told = r"results of other settings \(another job has made it\): choose another --out"
    with pytest.raises(ConfigError, match=told):
        claim_out(GenerateConceptsConfig(out=tmp_path / "out"))


def test_what_a_run_leaves_out_is_not_forgotten(tmp_path: Path) -> None:
    config = JobConfig(out=tmp_path / "out")
    for inputs in ({"a": "1", "b": "1"}, {"a": "1"}, {"c": "1"}):
        claim_out(config, inputs=inputs)
    with pytest.raises(ConfigError, match=r"results of other settings \(another b\)"):
        claim_out(config, inputs={"b": "2"})
    claim_out(JobConfig(out=tmp_path / "out", overwrite=True), inputs={"b": "2"})
    claim_out(config, inputs={"a": "2"})  # a new folder, which was made from no other
