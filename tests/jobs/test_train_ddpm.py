"""jobs.train_ddpm from the command line: what it leaves, what its run holds, what it refuses."""

import csv
import json
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from hw2.config import ScalingConfig
from hw2.errors import ConfigError
from tests.jobs.command import Folder, as_words

SETTINGS = {
    "out": "out",
    "network.patch": 4,
    "network.channels": 64,
    "network.attention": "false",
    "train.num_steps": 7,
    "train.batch_size": 10,
    "train.checkpoint_every": 3,
    "sample.num_inference_steps": 3,
    "num_per_class": 2,
}


def settings(tree: Path, judging: Path, **more: object) -> dict[str, object]:
    """Seven steps of a tiny network, then two pictures of each class in three steps."""
    return {"data.root": tree, "judge": judging, **SETTINGS, **more}


@pytest.fixture
def spoilt_tree(digits_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a torn picture at line 7, and a label 10 at line 9, of svhn's train.csv."""
    tree = tmp_path_factory.mktemp("spoilt")
    shutil.copytree(digits_tree, tree, dirs_exist_ok=True)
    svhn = tree / "digits" / "svhn"
    lines = (svhn / "train.csv").read_text().splitlines()
    torn = svhn / "data" / lines[6].split(",")[0]
    torn.write_bytes(torn.read_bytes()[:100])
    lines[8] = lines[8].split(",")[0] + ",10"
    (svhn / "train.csv").write_text("\n".join(lines) + "\n")
    return tree


@pytest.mark.timeout(900)
def test_bad_pictures_are_refused_or_left_out_and_told(
    folder: Folder, spoilt_tree: Path, judge: Path
) -> None:
    given = settings(spoilt_tree, judge)
    refusal = folder.run_here("train_ddpm", given).refusal()
    assert refusal.startswith("2 bad rows in the train split: ")
    assert f"{spoilt_tree}/digits/svhn/train.csv:7: " in refusal
    assert f"{spoilt_tree}/digits/svhn/train.csv:9: the label '10' is outside 0..9" in refusal
    assert refusal.endswith("leave them out with --data.skip_bad true")
    assert not (folder.path / "out").exists()
    assert not (folder.path / "mlflow.db").exists()

    given |= {"data.skip_bad": "true", "name": "tiny"}
    ended = folder.run("train_ddpm", *as_words(given | {"scaling.num_workers": 1}))
    assert ended.code == 0
    assert_complete(folder, ended.out)
    table = folder.path / "out/tables/bad_pictures.csv"
    assert f"left out: 2 rows or pictures that are bad, listed in {table}" in ended.out

    out = folder.path / "out"
    assert not (out / "ray").exists()

    # The same command again, on other workers even, repeats nothing.
    before = {p: p.stat().st_mtime_ns for k in ("svhn/*", "*.safetensors") for p in out.glob(k)}
    assert folder.run_here("train_ddpm", given | {"scaling.num_workers": 0}).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_complete(folder, ended.out)


def test_rows_checkpoints_and_the_number_of_pictures_may_be_others_later(
    folder: Folder, digits_tree: Path, judge: Path
) -> None:
    given = settings(digits_tree, judge, **{"scaling.num_workers": 0})
    assert folder.run_here("train_ddpm", given).code == 0
    weights = folder.path / "out/final.safetensors"
    before = weights.stat().st_mtime_ns
    given |= {"train.log_every": 2, "train.checkpoint_every": 5, "num_per_class": 3}
    assert folder.run_here("train_ddpm", given).code == 0
    assert weights.stat().st_mtime_ns == before
    assert len(list(folder.path.glob("out/svhn/*.png"))) == 30
    assert "train.num_steps: 7 there, 8 here" in (
        folder.run_here("train_ddpm", given | {"train.num_steps": 8}).refusal()
    )
    sampling = {"model": "out/checkpoints/step_00000006", "out": "drawn", "num_per_class": 1}
    sampling |= {key: given[key] for key in ("data.root", "judge", "scaling.num_workers")}
    ended = folder.run_here("sample_digits", {**sampling, "num_inference_steps": 3})
    assert ended.code == 0 and len(list(folder.path.glob("drawn/svhn/*.png"))) == 10


def assert_complete(folder: Folder, said: str) -> None:
    """OUT and its MLflow run hold all that a training of SETTINGS leaves."""
    out = folder.path / "out"
    ((run, name, status, artifact_uri),) = folder.query(
        "SELECT run_uuid, name, status, artifact_uri FROM runs"
    )
    assert (name, status) == ("tiny", "FINISHED")

    params = dict(folder.query("SELECT key, value FROM params"))
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert params["train.num_steps"] == "7"
    assert params["sample.guidance_weight"] == str(config["sample"]["guidance_weight"])
    assert len(params) >= 45

    for metric in ("loss", "learning_rate", "gradient_norm", "pictures_per_second"):
        assert folder.steps(f"train/{metric}") == list(range(1, 8))
    assert folder.steps("train/data_wait_share") == list(range(1, 8))
    assert folder.steps("eval/loss") == [3, 6, 7]
    assert folder.steps("eval/accuracy/svhn/3") == [7]

    tags = dict(folder.query("SELECT key, value FROM tags"))
    hashes = ("data_hash.train", "data_hash.val", "code_hash")
    assert [len(tags[name]) for name in hashes] == [64] * 3
    assert {"version.ray", "version.torch", "version.diffusers", "version.python"} <= set(tags)

    artifacts = Path(artifact_uri.removeprefix("file://"))
    names = {str(p.relative_to(artifacts)) for p in artifacts.rglob("*") if p.is_file()}
    assert {
        "config.yaml",
        "final.safetensors",
        "metrics.json",
        "figures/step_00000007.png",
        "figures/mnistm_sheet.png",
        "figures/svhn_reverse.png",
        "figures/svhn_reverse.gif",
        "tables/scores.csv",
        "tables/bad_pictures.csv",
    } <= names
    with (artifacts / "tables/bad_pictures.csv").open() as file:
        assert [row["line"] for row in csv.DictReader(file)] == ["7", "9"]
    with (artifacts / "tables/scores.csv").open() as file:
        assert {row["metric"] for row in csv.DictReader(file)} >= {"accuracy", "frechet_judge"}
    same = ("config.yaml", "final.safetensors", "metrics.json")
    assert all((artifacts / name).read_bytes() == (out / name).read_bytes() for name in same)

    metrics = json.loads((out / "metrics.json").read_text())
    mean = metrics["eval/accuracy"]
    assert mean["n"] == 40
    assert mean["low"] <= mean["value"] <= mean["high"]
    assert len(list(out.glob("mnistm/*.png"))) == len(list(out.glob("svhn/*.png"))) == 20
    assert "judged accuracy" in said
    assert "mlflow ui --backend-store-uri sqlite:///" in said.splitlines()[-1]
    assert len(run) == 32


def test_what_the_cluster_has_no_room_for_is_refused_before_anything_is_made(
    folder: Folder, digits_tree: Path, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected(scaling: ScalingConfig) -> NoReturn:  # as a real one, in test_session.py
        raise ConfigError(f"scaling.num_workers={scaling.num_workers}, but the cluster has 2 CPUs")

    monkeypatch.setattr("hw2.distributed.session.connected", connected)
    given = settings(digits_tree, judge, **{"scaling.num_workers": 999, "train.batch_size": 999})
    told = folder.run_here("train_ddpm", given).refusal()
    assert told == "scaling.num_workers=999, but the cluster has 2 CPUs"
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train.num_stepps": 3}, "unknown key train.num_stepps on the command line: did you mean"),
        ({"train.num_steps": 0}, "train.num_steps=0 on the command line: want "),
        ({"judge": "asset:nosuch"}, "asset:nosuch: no such asset"),
        ({"data.root": "nosuch"}, "nosuch/digits/mnistm/train.csv: cannot be read"),
        ({"sample.num_inference_steps": 1001}, "sample.num_inference_steps=1001: use 1 .. 1000"),
        (
            {"network.channels": "64,128", "network.patch": 2},
            "network.attention=[false]: give one value for each",
        ),
        ({"network.image_size": 30}, "network.image_size=30 with patch=4 and 1 levels: must be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_before_anything_is_made(
    change: dict[str, object],
    said: str,
    folder: Folder,
    digits_tree: Path,
    judge: Path,
) -> None:
    given = settings(digits_tree, judge, **{"scaling.num_workers": 0, **change})
    told = folder.run_here("train_ddpm", given).refusal()
    assert said.replace("false", "False") in told.replace("false", "False")
    assert list(folder.path.iterdir()) == []
