"""Steps run as processes, are reused while nothing changed, and fail alone."""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from hw2.config import JobConfig, load
from hw2.data.files import write_json
from hw2.errors import ConfigError
from hw2.lock import JOB_LOCK, only_writer
from hw2.report import steps
from hw2.report.steps import Runner, StepResult, plan
from hw2.runlog.addresses import resolve_uri
from hw2.runlog.courier import mark_of, receiver
from hw2.runlog.journal import JOURNAL
from hw2.settings.report import ReportConfig

TOY = '''
"""A job that takes no time.

python -m jobs.toy --out x
"""
from pathlib import Path
from hw2.config import JobConfig
from hw2.errors import DataError
from hw2.results import claim_out
from hw2.job import run_job
from hw2.runlog.addresses import resolve_uri
from hw2.data.files import write_json
from hw2.runlog.courier import mark_of, receiver
from hw2.runlog.journal import JOURNAL

class ToyConfig(JobConfig):
    value: int = 1
    words: tuple[str, ...] = ()
    source: Path | None = None

def main(config: ToyConfig) -> None:
    if config.value < 0:
        raise DataError(f"value={config.value}: take one above 0")
    out = claim_out(config)
    with Path("ran.txt").open("a") as file:
        file.write(out.name + "\\n")
    pieces = out / "pieces.txt"  # goes on with what is there
    pieces.write_text((pieces.read_text() if pieces.exists() else "") + "piece\\n")
    if Path("stop.txt").exists():
        raise DataError("stopped half-way")
    (out / "metrics.json").write_text("{}")
    write_json(out / "mlflow_run.json", {"run_id": "one", "tracking_uri": resolve_uri()})
    (out / JOURNAL).write_text("row\\n")
    for what in ("rows", "files"):
        key = receiver("one", resolve_uri())
        write_json(mark_of(out / JOURNAL, what), {"key": key, "offset": 4})

if __name__ == "__main__":
    raise SystemExit(run_job(ToyConfig, main, doc=__doc__))
'''


class Folder:
    """A working folder with the toy job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "jobs").mkdir()
        (root / "jobs/__init__.py").touch()  # else the regular package later in the path is taken
        (root / "jobs/toy.py").write_text(TOY)
        (root / "input.txt").write_text("a")
        spec = importlib.util.spec_from_file_location("toy", root / "jobs/toy.py")
        assert spec is not None and spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)

    def settings_of(self, job: str) -> type[JobConfig]:
        if job != "toy":
            raise ConfigError(f"job={job}: there is none")
        return self.module.ToyConfig  # type: ignore[no-any-return]

    def run(self, seed: int = 0, **settings: dict[str, object]) -> dict[str, StepResult]:
        """Run steps with these settings; how each ended."""
        tree = {name: {"job": "toy", "settings": of} for name, of in settings.items()}
        config = ReportConfig(out=Path("report"), steps=tree, seed=seed)  # type: ignore[arg-type]
        config.out.mkdir(exist_ok=True)
        results = list(Runner(config.out, self.settings_of).run(plan(config, self.settings_of)))
        return {result.step.name: result for result in results}

    @property
    def ran(self) -> int:
        """How many steps ran to their end so far."""
        path = self.root / "ran.txt"
        return len(path.read_text().split()) if path.exists() else 0


def load_yaml(path: str) -> dict[str, Any]:
    """The settings that a step left."""
    found: dict[str, Any] = yaml.safe_load(Path(path).read_text())
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    root = Path(steps.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))  # hw2; jobs is that of the working folder
    return Folder(tmp_path)


def test_a_step_is_run_once_for_the_same_settings_inputs_and_code(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"value": 2, "source": "input.txt"}
    assert folder.run(a=told)["a"].status == "done"
    assert folder.run(a=told)["a"].status == "reused" and folder.ran == 1

    os.utime("input.txt", ns=(1, 1))  # touched, the same bytes
    assert folder.run(a=told)["a"].status == "reused"
    Path("input.txt").write_text("b")
    assert folder.run(a=told)["a"].status == "done" and folder.ran == 2

    (folder.root / "report/a/metrics.json").unlink()
    assert folder.run(a=told)["a"].status == "done" and folder.ran == 3
    other = folder.run(a=told | {"value": 3})["a"]  # the old results are moved aside
    assert other.status == "done" and (folder.root / "report/a.old-1").is_dir()

    monkeypatch.setattr(steps, "code_of_jobs", lambda: "other code")
    assert folder.run(a=told | {"value": 3})["a"].status == "done" and folder.ran == 5
    monkeypatch.setattr(steps, "versions", lambda names: dict.fromkeys(names, "99.0"))
    assert folder.run(a=told | {"value": 3})["a"].status == "done" and folder.ran == 6
    assert len(list(folder.root.glob("report/a.old-*"))) == 4  # all but the one of lost metrics


@pytest.mark.parametrize("lost", ["rows", "files", "store"])
def test_what_has_not_reached_the_tracking_store_is_brought_by_the_job(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, lost: Literal["rows", "files", "store"]
) -> None:
    folder.run(a={})
    assert folder.run(a={})["a"].status == "reused"
    if lost == "store":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    else:
        key = receiver("one", resolve_uri())
        write_json(mark_of(Path("report/a") / JOURNAL, lost), {"key": key, "offset": 2})
    assert folder.run(a={})["a"].status == "done" and folder.ran == 2
    assert not Path("report/a.old-1").exists()  # it goes on with what is there
    assert folder.run(a={})["a"].status == "reused"


def test_the_report_s_seed_is_that_of_steps_without_their_own(folder: Folder) -> None:
    ended = folder.run(seed=7, a={}, b={"seed": 3}, c={"seed": 0})
    assert [load_yaml(f"report/{name}/config.yaml")["seed"] for name in ended] == [7, 3, 0]
    assert "--seed 7" in ended["a"].step.command and "--seed 7" not in ended["b"].step.command
    assert "--seed" not in folder.run(d={})["d"].step.command
    Path("five.yaml").write_text("seed: 5\n")
    tree = {"e": {"job": "toy", "config": "five.yaml"}}
    report = ReportConfig(out=Path("report"), steps=tree, seed=7)  # type: ignore[arg-type]
    words = list(plan(report, folder.settings_of)[0].words)
    assert load(folder.module.ToyConfig, words, prog="toy", description="").seed == 5


@pytest.mark.parametrize("gone", ["report/a", "report/a/mlflow_run.json"])
def test_results_that_are_gone_are_made_again(folder: Folder, gone: str) -> None:
    folder.run(a={})
    path = Path(gone)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert folder.run(a={})["a"].status == "done" and folder.ran == 2


@pytest.mark.parametrize(
    "spoilt",
    [{"seconds": "long"}, {"made_from": [1]}, {"made_from": {"inputs": {"input.txt": 3}}}, "pipe"],
)
def test_a_record_that_is_none_is_made_again(folder: Folder, spoilt: Any) -> None:
    told = {"value": 2, "source": "input.txt"}
    folder.run(a=told)
    record = Path("report/.steps/a.json")
    if spoilt == "pipe":
        record.unlink()
        os.mkfifo(record)
    else:
        record.write_text(json.dumps(json.loads(record.read_text()) | spoilt))
    assert folder.run(a=told)["a"].status == "done"
    assert folder.run(a=told)["a"].status == "reused" and folder.ran == 2


def test_a_run_that_found_all_done_does_not_say_how_long_it_takes(folder: Folder) -> None:
    folder.run(a={})
    record = Path("report/.steps/a.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"seconds": 9e5}))
    key = receiver("one", resolve_uri())
    write_json(mark_of(Path("report/a") / JOURNAL, "rows"), {"key": key, "offset": 2})
    for status in ("done", "reused"):
        found = folder.run(a={})["a"]
        assert (found.status, found.seconds) == (status, 9e5)


@pytest.mark.parametrize("changed", ["nothing", "code", "settings", "inputs"])
def test_only_what_was_begun_by_the_same_is_gone_on_with(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    told = {"value": 2, "source": "input.txt"}
    Path("stop.txt").touch()
    assert folder.run(a=told)["a"].error.startswith("stopped half-way")
    Path("stop.txt").unlink()
    if changed == "code":
        monkeypatch.setattr(steps, "code_of_jobs", lambda: "other code")
    elif changed == "settings":
        told["value"] = 3
    elif changed == "inputs":
        Path("input.txt").write_text("b")
    assert folder.run(a=told)["a"].status == "done"
    pieces = Path("report/a/pieces.txt").read_text().split()
    assert len(pieces) == (2 if changed == "nothing" else 1)
    assert Path("report/a.old-1").is_dir() == (changed != "nothing")


def test_a_folder_in_which_a_killed_report_s_job_is_at_work_stays(folder: Folder) -> None:
    folder.run(a={})
    with only_writer(Path("report/a"), 0.0, JOB_LOCK):
        result = folder.run(a={"value": 2})["a"]
    assert result.status == "failed" and "another run is writing there" in result.error
    assert not Path("report/a.old-1").exists()
    assert folder.run(a={"value": 2})["a"].status == "done"
    assert Path("report/a.old-1").is_dir()


def test_one_fails_the_others_go_on_and_what_needs_it_is_skipped(folder: Folder) -> None:
    ended = folder.run(a={"value": -1}, b={}, c={"source": "{out}/a"})
    assert ended["a"].status == "failed"
    assert ended["a"].error.startswith("value=-1: take one above 0 (exit code 2; log: report/")
    assert ended["b"].status == "done" and ended["b"].ok
    assert ended["c"].status == "skipped" and "it needs a" in ended["c"].error
    assert folder.ran == 1


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("error: first\nerror: second\nlater\n", "second"),
        ("began\n  gone wrong\n\n", "gone wrong"),
        (f"error: {'x' * 600}\n", "x" * 500),
        ("", "it said nothing"),
    ],
)
def test_a_failure_is_told_by_the_last_line_of_the_job(
    folder: Folder, printed: str, told: str
) -> None:
    Path("jobs/toy.py").write_text(f"print({printed!r}, end='')\nraise SystemExit(3)\n")
    error = folder.run(a={})["a"].error
    assert error == f"{told} (exit code 3; log: report/.steps/a.log)"


def test_each_step_is_told_as_it_begins_and_as_it_ended(folder: Folder) -> None:
    tree = {"a": {"job": "toy"}, "b": {"job": "toy", "settings": {"value": -1}}}
    config = ReportConfig(out=Path("report"), steps=tree)  # type: ignore[arg-type]
    config.out.mkdir()
    for first in (["running", "done"], ["reused"]):
        steps = plan(config, folder.settings_of)
        told = [result.status for result in Runner(config.out, folder.settings_of).run(steps)]
        assert told == [*first, "running", "failed"]


def test_a_folder_that_has_other_settings_now_is_made_again(folder: Folder) -> None:
    folder.run(a={})
    path = Path("report/a/config.yaml")
    path.write_text(path.read_text().replace("value: 1", "value: 5"))
    assert folder.run(a={})["a"].status == "done"
    assert load_yaml("report/a/config.yaml")["value"] == 1


@pytest.mark.parametrize("mark", ["", ", and more"])
def test_lists_may_name_what_other_steps_leave(folder: Folder, mark: str) -> None:
    words = {"words": [f"{{out}}/first/x{mark}", "b"]}
    tree = {"first": {"job": "toy"}, "a": {"job": "toy", "settings": words}}
    _, step = plan(ReportConfig(out=Path("my out"), steps=tree), folder.settings_of)  # type: ignore[arg-type]
    config = load(folder.module.ToyConfig, list(step.words), prog="toy", description="")
    assert config.model_dump()["words"] == (f"my out/first/x{mark}", "b")


def test_a_command_is_what_a_shell_takes(folder: Folder) -> None:
    words = ["a photo of a <new1>", "b"]
    tree = {"first": {"job": "toy"}, "a": {"job": "toy", "settings": {"words": words, "seed": 3}}}
    tree["a"]["settings"]["source"] = "{out}/first"  # type: ignore[index]
    report = ReportConfig(out=Path("my out"), steps=tree)  # type: ignore[arg-type]
    _, step = plan(report, folder.settings_of)
    assert step.needs == ("first",)
    assert step.command == (
        "python -m jobs.toy --words 'a photo of a <new1>,b' --seed 3 --source 'my out/first' "
        "--out 'my out/a'"
    )
    config = load(folder.module.ToyConfig, list(step.words), prog="toy", description="")
    assert config.model_dump()["words"] == tuple(words)


@pytest.mark.parametrize("words", [["one, two"], ["[1]"], ['say "x"', "it's"], []])
def test_lists_with_marks_in_them_arrive(folder: Folder, words: list[str]) -> None:
    tree = {"a": {"job": "toy", "settings": {"words": words}}}
    report = ReportConfig(out=Path("x"), steps=tree)  # type: ignore[arg-type]
    (step,) = plan(report, folder.settings_of)
    config = load(folder.module.ToyConfig, list(step.words), prog="toy", description="")
    assert config.model_dump()["words"] == tuple(words)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"source": "{out}/b"}, "b must stand before it"),
        ({"source": "{out}/x.old-1"}, r"\{out\}/x.old-1: there is no step x.old-1"),
        ({"valeu": 1}, "did you mean value?"),
    ],
)
def test_a_step_that_cannot_be_is_refused_before_any_runs(
    folder: Folder, settings: dict[str, object], told: str
) -> None:
    tree = {"a": {"job": "toy", "settings": settings}, "b": {"job": "toy"}}
    with pytest.raises(ConfigError, match=rf"steps\.a: .*{told}"):
        plan(ReportConfig(out=Path("x"), steps=tree), folder.settings_of)  # type: ignore[arg-type]


def test_a_misspelt_setting_is_told_where_it_stands(folder: Folder) -> None:
    tree = {"a": {"job": "toy", "settings": {"valeu": 1}}}
    with pytest.raises(ConfigError) as refused:
        plan(ReportConfig(out=Path("x"), steps=tree), folder.settings_of)  # type: ignore[arg-type]
    assert str(refused.value) == "steps.a: unknown key valeu in settings: did you mean value?"


def test_a_misspelt_step_is_told_with_what_it_takes(tmp_path: Path) -> None:
    file = tmp_path / "report.yaml"
    for step, told in (
        ("{job: toy, setting: {}}", "steps.a: unknown key setting in .*: want one of job, config"),
        ("{jobb: toy}", "steps.a: unknown key jobb in .*: want one of job, config, settings"),
        ("{}", "steps.a.job is missing in .*report.yaml: want a job's name, as sample_digits"),
        ("{job: to-y}", "steps.a.job=to-y in .*report.yaml: want a job's name, as sample_digits"),
    ):
        file.write_text(f"steps: {{a: {step}}}")
        with pytest.raises(ConfigError, match=told):
            load(ReportConfig, ["--out=x", f"--config={file}"], prog="p", description="")


def test_a_command_is_shown_without_secrets(folder: Folder) -> None:
    address = "s3://bucket/x?access_key=abc123"
    report = ReportConfig(
        out=Path("x"),
        steps={"a": {"job": "toy", "settings": {"words": [address]}}},  # type: ignore[dict-item]
    )
    (step,) = plan(report, folder.settings_of)
    assert address in step.words and "abc123" not in step.command


def test_the_report_itself_gives_out_and_overwrite() -> None:
    with pytest.raises(ValueError, match="leave out out of settings"):
        ReportConfig(out=Path("x"), steps={"a": {"job": "toy", "settings": {"out": "y"}}})  # type: ignore[dict-item]
