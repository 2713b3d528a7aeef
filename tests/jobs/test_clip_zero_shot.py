"""jobs.clip_zero_shot: figures equal to clip-benchmark's, embeddings kept, refusals."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
from clip_benchmark.metrics import zeroshot_classification as benchmark
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch.utils.data import DataLoader

from hw2.data.clip_tree import write_clip
from hw2.data.offline.scenes import held_out
from hw2.locate import ASSETS
from tests.attacks.hostile import png
from tests.clip.small import MODEL_CFG, NAMES, PREPROCESS_CFG, lively_clip, save_clip, write_set
from tests.jobs.command import Ended, Folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip") / "final.safetensors")


def run(folder: Folder, clip: Path, **more: object) -> Ended:
    """The job in this process, without Ray."""
    settings = {"images": "set/val", "out": "out", "pretrained": clip, "scaling.num_workers": 0}
    return folder.run_here("clip_zero_shot", settings | more)


def metrics(folder: Folder, out: str = "out") -> dict[str, Any]:
    return json.loads((folder.path / out / "metrics.json").read_text())


def table(folder: Folder, where: str) -> list[dict[str, Any]]:
    return pq.read_table(folder.path / where).to_pylist()


class Files:
    """The set as clip-benchmark wants it."""

    classes = NAMES

    def __init__(self, val: Path) -> None:
        self.paths = sorted(val.iterdir())
        size = MODEL_CFG["vision_cfg"]["image_size"]
        self.transform = image_transform_v2(PreprocessCfg(size=size, **PREPROCESS_CFG), False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path = self.paths[index]
        return self.transform(Image.open(path)), int(path.name.split("_")[0])


def test_figures_are_those_of_clip_benchmark(
    folder: Folder, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It calls float() on arrays of one number, which NumPy 2.4 refuses.
    monkeypatch.setattr(benchmark, "float", lambda x: np.asarray(x).item(), raising=False)
    val = write_set(folder.path / "set", each=20)
    ended = run(folder, clip, templates="course,imagenet7", clean_names="false")
    assert ended.code == 0 and "warning: prompts" not in ended.err
    assert metrics(folder)["cut_prompts"] == {"course-raw": 0, "imagenet7-raw": 0}
    found = metrics(folder)["prompt_sets"]
    tokenize = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    files = Files(val)
    sets = {
        "course-raw": ["A photo of {c}."],
        "imagenet7-raw": [t("{c}") for t in open_clip.SIMPLE_IMAGENET_TEMPLATES],
    }
    for name, templates in sets.items():
        loader = DataLoader(files, batch_size=16)  # type: ignore[arg-type]
        want = benchmark.evaluate(
            lively_clip(), loader, tokenize, list(NAMES), templates, "cpu", amp=False
        )
        values = {key: figure["value"] for key, figure in found[name].items()}
        assert values["top1"] == pytest.approx(want["acc1"], abs=1e-12)
        assert values["top5"] == pytest.approx(want["acc5"], abs=1e-12)
        recall = want["mean_per_class_recall"]
        assert values["mean_per_class_recall"] == pytest.approx(recall, abs=1e-12)
        assert 0 < values["top1"] < 0.6  # the test would be empty if all were right or wrong
    assert all(
        figure["low"] <= figure["value"] <= figure["high"] for figure in found[name].values()
    )

    rows = table(folder, "out/predictions/course-raw")
    assert [row["path"] for row in rows] == [path.name for path in files.paths]
    assert all(NAMES[int(row["path"].split("_")[0])] == row["label"] for row in rows)
    assert all(len(set(row["top5"])) == 5 for row in rows)
    hits = sum(row["top5"][0] == row["label"] for row in rows)
    assert hits / len(rows) == found["course-raw"]["top1"]["value"]
    assert all(np.all(np.diff(row["top5_probability"]) <= 0) for row in rows)

    (pair,) = metrics(folder)["comparisons"]
    changed = table(folder, "out/changed/course-raw__imagenet7-raw.parquet")
    assert len(changed) >= pair["only_a_right"] + pair["only_b_right"]
    assert all(row["course-raw"] != row["imagenet7-raw"] for row in changed)
    for kind in ("confusion", "calibration", "gallery"):
        for name in sets:
            with Image.open(folder.path / f"out/figures/{kind}_{name}.png") as figure:
                assert min(figure.size) > 200
    assert (folder.path / "out/figures/similarity_course-raw.png").is_file()
    (logged,) = folder.query("SELECT value FROM latest_metrics WHERE key='eval/top1/course-raw'")
    assert logged[0] == found["course-raw"]["top1"]["value"]


def test_cut_prompts_are_told_before_the_work(folder: Folder, clip: Path) -> None:
    write_set(folder.path / "set", each=1)
    (folder.path / "long.txt").write_text(f"{'very ' * 9}old {{}}\n")
    ended = run(folder, clip, templates="simple,long.txt")
    assert ended.code == 0
    assert metrics(folder)["cut_prompts"] == {"simple": 0, "long": 6}
    cut, alike, *_ = ended.err.splitlines()
    assert cut.startswith("warning: prompts long: 6 of 6 are cut at the 12 tokens that")
    assert alike.startswith("warning: prompts long: nothing tells classes apart")
    assert "'red_brick'" in alike and "warning: prompts simple" not in ended.err


def kept(folder: Folder) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.path.glob(".embeddings/*/*.parquet")}


def test_other_prompts_need_no_picture_pass(folder: Folder, clip: Path) -> None:
    val = write_set(folder.path / "set", each=3)
    assert run(folder, clip, save_embeddings="true").code == 0
    found = metrics(folder)
    assert "seconds_to_first_part" in found
    assert run(folder, clip, save_embeddings="true").code == 0
    assert metrics(folder) == found  # the pace too, though nothing was left to do
    rows = table(folder, "out/predictions/simple")
    vectors = np.array([row["embedding"] for row in rows])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    before = kept(folder)
    assert len(before) == 1
    other = {"templates": "a {}|the {}", "out": "other"}
    assert run(folder, clip, **other).code == 0
    assert "seconds_to_first_part" not in metrics(folder, "other")
    assert kept(folder) == before

    for path in val.iterdir():  # other bytes, which only who opens it can see
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    said = run(folder, clip, **other).refusal()
    assert "it was a picture when it was embedded, and no longer is" in said


@pytest.mark.slow
def test_a_touched_set_is_read_and_not_encoded(folder: Folder, clip: Path) -> None:
    val = write_set(folder.path / "set", each=2)
    assert run(folder, clip).code == 0
    before = kept(folder)
    for path in val.iterdir():
        path.touch()
    assert run(folder, clip, out="again").code == 0
    assert kept(folder) == before
    assert metrics(folder)["prompt_sets"] == metrics(folder, "again")["prompt_sets"]


BAD = {
    "0_900.png": b"",
    "0_901.png": b"not a picture at all",
    "0_902.jpg": b"<!DOCTYPE html><html>404</html>",
    "0_903.png": b"GIF89a" + b"\0" * 40,
    "0_904.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "holiday.png": None,
    "0_905.txt": b"notes",
}


def add_bad(val: Path) -> set[str]:
    """Twelve kinds of files that are no pictures of the set; returns their names."""
    good = (val / "0_0.png").read_bytes()
    for name, content in BAD.items():
        (val / name).write_bytes(good if content is None else content)
    (val / "1_900.png").write_bytes(good[: len(good) // 2])  # truncated
    spoilt = bytearray(good)
    spoilt[len(good) // 2] ^= 255  # its checksum no longer fits
    (val / "1_901.png").write_bytes(spoilt)
    (val / "1_902.png").write_bytes(png(60000, 60000))  # claims 3.6 gigapixels
    (val / "1_903.png").symlink_to(val / "gone.png")
    os.mkfifo(val / "1_904.png")
    return {*BAD, *(f"1_{number}.png" for number in range(900, 905))}


@pytest.fixture
def bad_set(folder: Folder) -> set[str]:
    """1200 good pictures and one of each of twelve kinds of bad ones."""
    return add_bad(write_set(folder.path / "set", each=200, sides=(8, 8)))


def test_one_per_cent_of_twelve_kinds_of_bad_files(
    folder: Folder, clip: Path, bad_set: set[str]
) -> None:
    ended = run(folder, clip)
    assert ended.code == 0
    listed = {row["path"]: row["reason"] for row in table(folder, "out/quarantine.parquet")}
    assert listed.keys() == bad_set
    assert len(bad_set) == 12
    for name, said in {
        "0_900.png": "empty",
        "0_901.png": "not a picture",
        "0_905.txt": "",
        "holiday.png": "misnamed",
        "1_900.png": "broken picture",
        "1_901.png": "broken picture",
        "1_902.png": "megapixels",
        "1_904.png": "regular file",
    }.items():
        assert said in listed[name], (name, listed[name])
    assert all(reason and "\n" not in reason for reason in listed.values())
    assert metrics(folder)["bad_pictures"] == 12
    assert metrics(folder)["pictures"] == 1212
    assert metrics(folder)["prompt_sets"]["simple"]["top1"]["n"] == 1200
    assert folder.query("SELECT value FROM latest_metrics WHERE key='bad_pictures'") == [(12.0,)]
    assert "12 of 1212 pictures cannot be used" in ended.out


@pytest.mark.slow
def test_too_many_bad_files_end_it_after_the_list(folder: Folder, clip: Path) -> None:
    bad = add_bad(write_set(folder.path / "set", each=30, sides=(8, 8)))
    said = run(folder, clip).refusal()
    assert "12 of 192 pictures are bad" in said
    assert "max_bad_share=0.01" in said
    assert {row["path"] for row in table(folder, "out/quarantine.parquet")} == bad
    assert not (folder.path / "out" / "metrics.json").exists()
    assert folder.query("SELECT status FROM runs") == [("FAILED",)]
    before = kept(folder)
    assert run(folder, clip, max_bad_share=0.1).code == 0  # in the same folder
    assert kept(folder) == before
    assert metrics(folder)["bad_pictures"] == 12


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images": "nowhere"}, "nowhere"),
        ({"images": "empty"}, "no pictures"),
        ({"images": "s3://key:secret@bucket/val"}, "put them into the environment"),
        ({"images": "set/gone/val"}, "set/gone"),
        ({"images": "above"}, "images=above: has id2label.json in it, which lies beside a folder"),
        ({"images": ""}, "want a text of length >= 1"),
        ({"out": ""}, "want a path"),
        ({"labels": "twice.json"}, "dog"),
        ({"labels": "short.json"}, "no label"),
        ({"templates": "imagnet"}, "templates=imagnet"),
        ({"model": "ViT-B-23", "pretrained": "openai"}, "did you mean ViT-B-32?"),
        ({"model": "ViT-B-32", "pretrained": "opnai"}, "neither a file nor a tag of ViT-B-32"),
        ({"model": "ViT-B-32", "pretrained": "null"}, "one of openai"),
        ({"model": "ViT-B-32", "pretrained": "asset:clip"}, "leave model out"),
        ({"model": "ViT-B-32", "pretrained": "empty"}, "empty is no weights file"),
        ({"model": "local-dir:set", "pretrained": "null"}, "open_clip_config.json"),
        ({"pretrained": "asset:digits"}, "not weights of jobs.train_clip"),
        ({"clean_names": "true,true"}, "want true, false or true,false"),
        ({"max_bad_share": 2}, "max_bad_share"),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(x),
)
def test_refusals(settings: dict[str, object], said: str, folder: Folder, clip: Path) -> None:
    write_set(folder.path / "set", each=1)
    (folder.path / "empty").mkdir()
    (folder.path / "above").mkdir()
    (folder.path / "above/id2label.json").write_text('["dog", "cat"]')
    (folder.path / "twice.json").write_text('{"0": "dog", "1": "cat", "2": "dog"}')
    (folder.path / "short.json").write_text('{"0": "dog", "1": "cat"}')
    ended = run(folder, clip, **settings)
    assert said in ended.refusal()
    assert not (folder.path / "out").exists()
    assert not (folder.path / ".embeddings").exists()


@pytest.mark.slow
def test_the_released_weights_read_what_their_card_says(folder: Folder) -> None:
    write_clip(folder.path, seed=0, num_train=10, num_val_per_class=50)
    settings = {"images": "clip_zeroshot/val", "out": "out", "scaling.num_workers": 0}
    assert folder.run_here("clip_zero_shot", settings).code == 0
    card = (ASSETS / "clip" / "card.md").read_text()
    said = float(re.search(r"\| eval/top1 \| ([\d.]+)", card)[1])  # type: ignore[index]
    found = metrics(folder)["prompt_sets"]["simple"]
    assert found["top1"]["n"] == 2500
    assert said > 0.9  # of 50 classes
    assert found["top1"]["value"] == pytest.approx(said, abs=0.01)  # its prompt has no article
    rows = table(folder, "out/predictions/simple")
    unseen = [row for row in rows if held_out(row["label"])]
    assert len(unseen) == 500
    assert sum(row["top5"][0] == row["label"] for row in unseen) > 450
