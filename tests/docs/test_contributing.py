"""The examples of CONTRIBUTING, put into a copy of the code as it says, work in a job."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from hw2.metrics.digit_metrics import JudgedPictures
from hw2.metrics.digit_scores import score_digits
from tests.docs.documents import ROOT, named_files

EXAMPLES = named_files(ROOT / "CONTRIBUTING.md")
METRIC = "hw2/metrics/digit_metrics.py"


def test_there_is_one_file_an_example() -> None:
    places = {name: (ROOT / name).exists() for name in EXAMPLES}
    assert places == {
        "hw2/diffusion/solvers/plms.py": False,
        "hw2/data/sources/uci.py": False,
        METRIC: True,
    }
    for text in EXAMPLES.values():
        ast.parse(text)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The code with the examples in it; the released weights are linked."""
    ignored = shutil.ignore_patterns("assets", "__pycache__")
    for folder in ("hw2", "jobs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "hw2/assets").symlink_to(ROOT / "hw2/assets")
    for name, text in EXAMPLES.items():  # the copy's; the folders are no links
        path = tmp_path / name
        path.write_text(extended(path.read_text(), text) if path.exists() else text)
    return tmp_path


def extended(code: str, example: str) -> str:
    """An example at the end of a file of ours, its import among those at the top."""
    _, imports, rest = re.split(r"(?m)^(import \w+\n)\n+", example)
    return code.replace("from jaxtyping", f"{imports}from jaxtyping", 1) + f"\n\n{rest}"


def test_the_examples_pass_lint(copy: Path) -> None:
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, *EXAMPLES]
        ended = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout


def run(copy: Path, job: str, *words: object) -> str:
    """A job of the copy."""
    command = [sys.executable, "-m", f"jobs.{job}", *map(str, words)]
    environment = dict(os.environ, PYTHONPATH=str(copy), HOME=str(copy))
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_metric_is_undefined_of_few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("with_coverage")
    exec(extended((ROOT / METRIC).read_text(), EXAMPLES[METRIC]), vars(module))
    monkeypatch.setattr("hw2.metrics.digit_scores.METRICS", module.METRICS)
    labels, numbers = torch.arange(5), torch.randn(5, 3)
    few = JudgedPictures(labels, labels, torch.zeros_like(labels), numbers, numbers)
    assert str(score_digits(few, few).get("coverage")) == "n/a"


@pytest.mark.slow
def test_a_sampler_a_data_set_and_a_metric_are_a_file_each(copy: Path) -> None:
    small = {"num_train": 20, "num_val": 297, "num_faces": 10, "num_noises": 2}
    small |= {"num_clip_train": 10, "num_clip_val": 1, "num_text2image": 0}
    sizes = [str(word) for key, value in small.items() for word in (f"--{key}", value)]
    run(copy, "prepare_data", "--source", "uci", "--out", "hw2_data_uci", *sizes)
    tables = {
        split: (copy / f"hw2_data_uci/digits/mnistm/{split}.csv").read_text().splitlines()
        for split in ("train", "val")
    }
    assert {split: len(table) for split, table in tables.items()} == {"train": 21, "val": 298}
    assert json.loads((copy / "hw2_data_uci/digits/uci.json").read_text())["num_val"] == 297

    settings = ["--sampler", "plms", "--num_inference_steps", 5, "--guidance_interval", "0,1"]
    settings += ["--num_per_class", 5, "--scaling.num_workers", 0, "--out", "out"]
    settings += ["--data.root", "hw2_data_uci"]
    said = run(copy, "sample_digits", *settings)
    assert "coverage of real pictures" in said
    metrics = json.loads((copy / "out/metrics.json").read_text())
    assert metrics["eval/network_calls"] == 2 * 5  # with and without label
    coverage, accuracy = metrics["eval/coverage/mnistm"], metrics["eval/accuracy/mnistm"]
    assert coverage["n"] == 50 and 0 <= coverage["low"] < coverage["high"] <= 1
    assert accuracy["value"] > 0.8  # five steps draw digits that can be read

    assert "plms" in run(copy, "sample_digits", "--help")
