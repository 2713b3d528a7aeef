"""What the benchmarks share."""

import json
from pathlib import Path

import frame
import pytest

from tests.benchmarks.conftest import FOLDER


def test_sides_take_turns_and_every_other_round_runs_backwards() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) or len(order) for name in "abc"}
    found = frame.in_turns(sides, 3)
    assert "".join(order) == "abccbaabc"
    assert found == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine was twice as slow in the second round: the quotient of medians would be 1.5.
    found = frame.ratios([2.0, 4.0, 3.0], [1.0, 2.0, 2.0])
    assert found == {"value": 2.0, "low": 1.5, "high": 2.0}


def test_the_result_is_a_table_and_a_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"side": "ours", **frame.spread([1.0, 2.0, 4.0])}, {"side": "theirs", "calls": 3}]
    path = tmp_path / "new" / "x.json"
    frame.finish(path, {"pairs": 3, "json": path}, rows)
    told = capsys.readouterr().out
    assert "2.0 (1.0-4.0)" in told
    assert "torch" in told
    found = json.loads(path.read_text())
    assert found["rows"] == rows
    assert found["settings"] == {"pairs": 3, "json": path.name}


def test_a_gpu_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    parser = frame.arguments("x", None)
    frame.add_device(parser)
    frame.refuse_no_gpu(parser, parser.parse_args([]).device)
    with pytest.raises(SystemExit) as caught:
        frame.refuse_no_gpu(parser, parser.parse_args(["--device", "cuda"]).device)
    assert caught.value.code == 2
    assert "error: --device cuda: no GPU here: leave it out" in capsys.readouterr().err


def test_the_head_of_a_benchmark_is_its_command() -> None:
    shared = {"frame", "reference_recipe", "training_recipes", "drawing_samplers"}
    names = {path.stem for path in FOLDER.glob("*.py")} - shared
    makefile = (FOLDER.parent / "Makefile").read_text()
    for name in names:
        head = (FOLDER / f"{name}.py").read_text().split('"""')[1]
        assert f"\npython benchmarks/{name}.py" in head, name
        assert f"benchmarks/{name}.py" in makefile, name
