"""Whatever a step reads counts, and nothing else does."""

import json
import os
from pathlib import Path

import pytest

from hw2.report.fingerprint import code_of_jobs, fingerprint, paths_in


def contents(settings: dict[str, object]) -> list[str]:
    """Hashes of all that `settings` name."""
    return [fingerprint(Path(path)).content for path in sorted(set(paths_in(settings)))]


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        ({"real": "tree/file.txt"}, "tree/file.txt"),
        ({"data": {"root": "tree"}}, "tree/deep/file.txt"),
        ({"input": "tree/input.json"}, "tree/0/picture.jpg"),
        ({"noise": "tree/noise"}, "tree/GT/00.png"),
        ({"images": "tree/val"}, "tree/id2label.json"),
        ({"real": "~/file.txt"}, "home/file.txt"),
        ({"separate": ["<new1>=tree/embedding.bin"]}, "tree/embedding.bin"),
        ({"real": "tree/linked"}, "elsewhere/file.txt"),
        ({"templates": "simple, tree/mine.txt"}, "tree/mine.txt"),
        ({"model": "local-dir:tree/clip"}, "tree/clip/weights.bin"),
    ],
)
def test_a_changed_input_changes_what_a_step_is_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("tree/noise/00.pt", "tree/val/0_1.png", file):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("a")
    concept = {"src_image": "0", "token_name": "<new1>", "prompt": "a", "prompt_4_clip_eval": "b"}
    Path("tree/input.json").write_text(json.dumps({"0": concept | {"baseline": [[70, 30]]}}))
    if file.startswith("elsewhere"):
        Path("tree/linked").symlink_to(tmp_path / "elsewhere")
    before = contents(settings)
    assert before == contents(settings)
    Path(file).write_text("b")
    assert contents(settings) != before


def test_what_each_run_writes_again_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a")
    before = fingerprint(tmp_path).content
    passing = ("mlflow_run.json", "journal.jsonl", "split.arrow", "x.lock", "x.pyc")
    kept = ("__pycache__/a", ".cache/a", ".embeddings/a/b")
    for name in (*passing, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("b")
    assert fingerprint(tmp_path).content == before
    (tmp_path / "file.txt").rename(tmp_path / "other.txt")
    assert fingerprint(tmp_path).content != before


def test_code_and_released_weights_count_and_the_report_s_own_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw2.report.fingerprint.PACKAGE", tmp_path / "hw2")
    counted = [
        "hw2/job.py",
        "hw2/assets/clip/final.safetensors",
        "jobs/a.py",
        "jobs/configs/a.yaml",
    ]
    own = ["hw2/report/page.py", "hw2/settings/report.py", "jobs/report.py"]
    for name in (*counted, *own):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a")
    sums = [code_of_jobs()]
    for name in (*own, *counted):
        (tmp_path / name).write_text("b")
        sums.append(code_of_jobs())
    assert len(set(sums[: len(own) + 1])) == 1 and len(set(sums)) == len(counted) + 1


def test_links_that_lead_back_or_nowhere_and_pipes_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a")
    before = fingerprint(tmp_path).content
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    assert fingerprint(tmp_path).content == before
