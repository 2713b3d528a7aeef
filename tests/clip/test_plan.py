"""What is to be done and what is there, for sets and class names of every kind, to the report."""

import csv
import errno
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hw2.clip import plan as planning
from hw2.clip.cuts import warn_of_prompts
from hw2.clip.finding import ClipSource, find_clip
from hw2.clip.loading import load_clip
from hw2.clip.plan import Plan, find_pictures, text_chunks
from hw2.clip.prompts import prompt_sets
from hw2.clip.report import report_zero_shot
from hw2.clip.results import bad_pictures, predict
from hw2.clip.store import EmbeddingStore
from hw2.clip.tokenizing import load_tokenizer
from hw2.clip.work import Piece, make_encoder, make_reader
from hw2.clip.zero_shot import class_embeddings, rank
from hw2.config import ScalingConfig
from hw2.data.listing.pictures import Listing
from hw2.data.listing.store import Store
from hw2.distributed.batch import map_pieces
from hw2.errors import ConfigError, DataError
from hw2.figures.gallery import GalleryRow
from hw2.metrics.intervals import wilson
from hw2.runlog.tracker import Tracker
from hw2.settings.zero_shot import ClipZeroShotConfig
from tests.clip.small import NAMES, save_clip, write_set


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return find_clip(None, str(save_clip(tmp_path_factory.mktemp("clip") / "final.safetensors")))


def settings(root: Path, templates: Sequence[str] = ("simple",)) -> ClipZeroShotConfig:
    images = str(root / "set" / "val")
    return ClipZeroShotConfig(
        images=images, out=root / "out", templates=tuple(templates), batch_size=2
    )


def planned(config: ClipZeroShotConfig, source: ClipSource) -> tuple[Plan, Listing]:
    listing = find_pictures(config)
    sets = prompt_sets(config.asked_templates, config.clean_names)
    return Plan.make(config, source, listing, sets, time.time(), config.precision), listing


def do(plan: Plan, source: ClipSource, pieces: list[Piece] | None = None) -> int:
    """All work of the plan; returns how many pictures it had."""
    reader = make_reader(source.preprocess, plan.store)
    encoder = make_encoder(source, plan.store, 2, "fp32")
    pieces = plan.pieces() if pieces is None else pieces
    return sum(plan.take(map_pieces(encoder, pieces, ScalingConfig(num_workers=0), reader)))


def report(
    root: Path, source: ClipSource, templates: Sequence[str] = ("simple",), **more: object
) -> dict:
    """The whole job without MLflow; returns its figures."""
    config = settings(root, templates).model_copy(update=more)
    plan, listing = planned(config, source)
    do(plan, source)
    config.out.mkdir(exist_ok=True)
    cut = warn_of_prompts(load_tokenizer(source), plan.prompts, listing.labels.names)
    with Tracker(config.out, "", None, owner=False) as tracker:
        report_zero_shot(config, source, listing, plan, cut, tracker)
    return json.loads((config.out / "metrics.json").read_text())


def write_pictures(root: Path, names: Sequence[str], labels: Sequence[int]) -> None:
    """Random pictures, one a label, and the names of the classes; always the same pictures."""
    val = root / "set" / "val"
    val.mkdir(parents=True, exist_ok=True)
    for old in val.iterdir():
        old.unlink()
    rng = np.random.default_rng(1)
    for number, label in enumerate(labels):
        pixels = rng.integers(0, 256, (18, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(val / f"{label}_{number:02d}.png")
    named = {str(i): name for i, name in enumerate(names)}
    (root / "set" / "id2label.json").write_text(json.dumps(named))


def test_chunks_of_prompts_give_what_one_gives(
    tmp_path: Path, source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "set", each=2)
    whole, _ = planned(settings(tmp_path, ["simple", "imagenet7"]), source)
    assert [len(p["prompts"]) for p in whole.pieces() if "prompts" in p] == [6, 6]
    monkeypatch.setattr(planning, "TEXTS_PER_PIECE", 15)  # two classes of seven prompts
    parts, _ = planned(settings(tmp_path, ["simple", "imagenet7"]), source)
    assert [len(p["prompts"]) for p in parts.pieces() if "prompts" in p] == [6, 2, 2, 2]
    assert do(parts, source) == 12
    loaded = load_clip(source)
    for name in ("simple", "imagenet7"):
        classes, scale = parts.classes(name)
        want = class_embeddings(loaded.net, loaded.tokenize, parts.prompts[name])
        torch.testing.assert_close(classes, want, rtol=0, atol=1e-6)
        assert scale == loaded.scale
    assert parts.content == {0: parts.content[0]} and not parts.pieces()
    monkeypatch.undo()
    again, _ = planned(settings(tmp_path, ["simple", "imagenet7"]), source)
    assert [len(p["prompts"]) for p in again.pieces()] == [6]  # chunked otherwise


def test_a_template_of_more_prompts_than_a_piece_holds() -> None:
    prompts = [[f"{k} {c}" for k in range(5000)] for c in range(3)]
    assert text_chunks(prompts) == [[own] for own in prompts]


def test_predictions_are_those_of_each_picture(tmp_path: Path, source: ClipSource) -> None:
    """Over parts, bad pictures and all."""
    val = write_set(tmp_path / "set", each=3)
    (val / "2_1.png").write_bytes(b"x")
    config = settings(tmp_path)
    listing = find_pictures(config)
    plan, _ = planned(config, source)
    plan = Plan(plan.store, listing.parts(5), plan.prompts, plan.began)
    assert do(plan, source) == 18 and len(plan.content) == 4
    found = predict(plan, listing.labels, "simple", tmp_path, save_embeddings=True)
    assert found.rows.tolist() == [i for i in range(18) if i != 7]
    assert found.labels.tolist() == [i // 3 for i in range(18) if i != 7]
    for place, row in enumerate(found.rows.tolist()):
        one = rank(plan.embedding(row)[None], *plan.classes("simple"))
        assert torch.equal(one.classes[0], found.classes[place])
        torch.testing.assert_close(one.probabilities[0], found.probabilities[place])
    written = pq.read_table(tmp_path / "predictions" / "simple").to_pylist()
    assert [row["path"] for row in written] == [
        p.name for p in sorted(val.iterdir()) if "2_1" not in p.name
    ]
    assert [row["top5"] for row in written] == [
        [NAMES[c] for c in row] for row in found.classes.tolist()
    ]
    for place, row in zip(found.rows.tolist(), written, strict=True):
        assert torch.equal(torch.tensor(row["embedding"]), plan.embedding(place))
    with pytest.raises(IndexError):
        plan.embedding(18)


def test_only_what_is_broken_is_made_anew(tmp_path: Path, source: ClipSource) -> None:
    write_set(tmp_path / "set", each=6)
    config = settings(tmp_path)
    plan, listing = planned(config, source)
    parts = listing.parts(9)
    plan = Plan(plan.store, parts, plan.prompts, plan.began)
    do(plan, source)
    before = plan.embedding(12).clone()
    broken = plan.store.folder / f"{plan.content[1]}.parquet"
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(DataError, match="run the same command again"):  # between plan and report
        predict(plan, listing.labels, "simple", tmp_path, save_embeddings=False)
    (texts,) = (plan.store.folder / "texts").iterdir()
    texts.write_bytes(b"")
    known = {i: plan.store.content_of(part) for i, part in enumerate(parts)}
    plan.content = {i: content for i, content in known.items() if content}
    assert sorted(plan.content) == [0, 2, 3]
    pieces = plan.pieces()
    assert [piece.get("prompts") is None for piece in pieces] == [False, True]
    assert do(plan, source, pieces) == 9
    assert torch.equal(plan.embedding(12), before)
    assert not plan.pieces()


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), FileNotFoundError(errno.ENOENT, "gone")]
)
def test_what_could_not_be_read_is_read_by_the_next_call(
    tmp_path: Path, source: ClipSource, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    val = write_set(tmp_path / "set", each=2)
    (val / "0_9.png").write_bytes(b"no picture")
    plan, listing = planned(settings(tmp_path), source)
    plan = Plan(plan.store, listing.parts(5), plan.prompts, plan.began)
    read = Store.read

    def failing(store: Store, name: str, most: int) -> bytes:
        if name == "2_1.png":
            raise error
        return read(store, name, most)

    monkeypatch.setattr(Store, "read", failing)
    assert do(plan, source) == 13
    assert [row["path"] for row in bad_pictures(plan)] == ["0_9.png", "2_1.png"]
    monkeypatch.undo()
    known = {i: plan.store.content_of(part) for i, part in enumerate(plan.parts)}
    plan.content = {i: content for i, content in known.items() if content}
    assert list(plan.content) == [0, 2]  # not the part that was read in vain, but that of bad bytes
    assert do(plan, source) == 5 and not plan.pieces()
    assert [row["path"] for row in bad_pictures(plan)] == ["0_9.png"]


@pytest.mark.parametrize("texts", [("", "3"), ("3", "")])
def test_a_label_that_was_mended_or_lost_counts(
    tmp_path: Path, source: ClipSource, texts: tuple[str, str]
) -> None:
    val = write_set(tmp_path / "set", each=1)
    table = val / "set.csv"
    config = settings(tmp_path).model_copy(
        update={"images": str(table), "labels": tmp_path / "set/id2label.json"}
    )
    for text in texts:
        rows = [f"{c}_0.png,{text if c == 3 else c}" for c in range(len(NAMES))]
        table.write_text("\n".join(["path,label", *rows]) + "\n")
        plan, listing = planned(config, source)
        do(plan, source)
        found = predict(plan, listing.labels, "simple", tmp_path, save_embeddings=False)
        want = [{"path": "3_0.png", "reason": "it has no label"}] * (not text)
        assert bad_pictures(plan) == want
        assert found.labels.tolist() == [c for c in range(len(NAMES)) if text or c != 3]


def test_a_cache_that_cannot_be_written_is_refused_first(
    tmp_path: Path, source: ClipSource
) -> None:
    write_set(tmp_path / "set", each=1)
    (tmp_path / "file").write_text("in the way")
    config = settings(tmp_path).model_copy(update={"cache": tmp_path / "file"})
    with pytest.raises(ConfigError, match=r"/file: embeddings cannot be kept there"):
        planned(config, source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "set"]


def test_a_cache_with_everything_may_be_read_only(
    tmp_path: Path, source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "set", each=1)
    do(planned(settings(tmp_path), source)[0], source)
    monkeypatch.setattr("hw2.clip.store.replacing", None)
    monkeypatch.setattr("hw2.clip.store.uuid", None)
    plan, listing = planned(settings(tmp_path), source)
    assert len(predict(plan, listing.labels, "simple", tmp_path, False).rows) == 6


def test_tables_are_of_each_class_and_of_what_two_sets_name_differently(
    tmp_path: Path, source: ClipSource
) -> None:
    val = write_set(tmp_path / "set", each=4)
    (val / "0_1.png").write_bytes(b"no picture")  # predictions are fewer than pictures
    report(tmp_path, source, ["simple", "imagenet7"], max_bad_share=0.1)
    out = tmp_path / "out"
    simple, seven = (
        pq.read_table(out / "predictions" / name).to_pylist() for name in ("simple", "imagenet7")
    )
    with (out / "tables/classes_simple.csv").open() as file:
        classes = list(csv.DictReader(file))
    assert [row["class"] for row in classes] == list(NAMES)
    for row in classes:
        own = [one["top5"][0] == row["class"] for one in simple if one["label"] == row["class"]]
        limits = vars(wilson(sum(own), len(own))).values()
        found = [float(row[key]) for key in ("recall", "recall_low", "recall_high")]
        assert found == pytest.approx(list(limits))
        mine = [one["top5"] for one in simple if one["label"] == row["class"]]
        said = [one["label"] == row["class"] for one in simple if one["top5"][0] == row["class"]]
        share = sum(row["class"] in top5 for top5 in mine) / len(mine)
        assert float(row["top5"]) == pytest.approx(share)
        assert not said or float(row["precision"]) == pytest.approx(sum(said) / len(said))
        wrong = Counter(top5[0] for top5 in mine if top5[0] != row["class"])
        assert wrong[row["mistaken_for"]] == max(wrong.values(), default=0) == int(row["times"])
    want = [
        {"path": a["path"], "label": a["label"], "simple": a["top5"][0], "imagenet7": b["top5"][0]}
        for a, b in zip(simple, seven, strict=True)
        if a["top5"][0] != b["top5"][0]
    ]
    assert len(want) > 1
    assert pq.read_table(out / "changed/simple__imagenet7.parquet").to_pylist() == want


def test_as_many_bad_pictures_as_allowed_are_left_out(tmp_path: Path, source: ClipSource) -> None:
    val = write_set(tmp_path / "set", each=2)
    for path in sorted(val.iterdir())[:3]:
        path.write_bytes(b"no picture")
    assert report(tmp_path, source, max_bad_share=0.25)["bad_pictures"] == 3
    with pytest.raises(DataError, match=r"3 of 12 pictures are bad \(25.0%\), more than max_bad_s"):
        report(tmp_path, source, max_bad_share=0.24)
    for path in val.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the 12 pictures can be used: "):
        report(tmp_path, source, max_bad_share=1.0)


def test_figures_are_of_the_pictures_that_they_name(
    tmp_path: Path, source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[GalleryRow] = []
    similar: list[Any] = []
    drawn = Image.new("RGB", (8, 8))
    monkeypatch.setattr("hw2.clip.report.gallery", lambda of, title: rows.extend(of) or drawn)
    monkeypatch.setattr(
        "hw2.clip.report.similarity_figure", lambda *of: similar.extend(of) or drawn
    )
    monkeypatch.setattr("hw2.clip.report.SIMILAR_CLASSES", 3)
    val = write_set(tmp_path / "set", each=4)
    report(tmp_path, source)
    predictions = pq.read_table(tmp_path / "out/predictions/simple").to_pylist()
    pixels = {
        source.preprocess.pixels(np.array(Image.open(val / row["path"]))).tobytes(): row
        for row in predictions
    }

    def of(picture: torch.Tensor) -> dict[str, Any]:
        return pixels[picture.movedim(0, -1).numpy().tobytes()]

    assert sum(len(row.pictures) for row in rows) > 3
    for picture, notes in [
        pair for row in rows for pair in zip(row.pictures, row.notes, strict=True)
    ]:
        told = of(picture)
        share = told["top5_probability"][0]
        want = [f"true: {told['label']}", f"said: {told['top5'][0]}", f"p = {share:.1%}"]
        assert list(notes) == want
    values, pictures, texts = similar
    shown = [of(picture)["label"] for picture in pictures]
    assert shown == [NAMES[0], NAMES[2], NAMES[5]]
    assert texts == ["a photo of a red brick.", "a photo of the sea.", "a photo of an oak tree."]
    plan, listing = planned(settings(tmp_path), source)
    places = [listing.table["name"].to_pylist().index(of(picture)["path"]) for picture in pictures]
    loaded = load_clip(source)
    classes = class_embeddings(loaded.net, loaded.tokenize, [[text] for text in texts])
    want = torch.stack([plan.embedding(place) for place in places]) @ classes.T
    torch.testing.assert_close(values, want, rtol=0, atol=1e-6)


def test_the_figure_of_an_ensemble_says_that_it_is_one(
    tmp_path: Path, source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    drawn = Image.new("RGB", (8, 8))
    monkeypatch.setattr("hw2.clip.report.similarity_figure", lambda *of: shown.extend(of) or drawn)
    monkeypatch.setattr("hw2.clip.report.SIMILAR_CLASSES", 2)
    write_set(tmp_path / "set", each=1)
    report(tmp_path, source, ["imagenet7"])
    first = prompt_sets(["imagenet7"], [True])[0].prompts(NAMES)
    assert shown[2] == [f"{first[c][0]} (+6 more)" for c in (0, 5)]


ODD = (
    'a "quoted" 😀 $x_1^2$',
    "水族館_の_魚",
    "very long " * 40,
    "<b>&amp;\\n$$",
    "a tab\tand a\nline",
    "../..",
)
CHINESE = "一張這個東西的非常好的照片在這裡還有那裡都能看見而且非常漂亮的照片就是這個"


@pytest.mark.filterwarnings("ignore:Glyph")  # the type of the figures has no Chinese
def test_odd_class_names_and_templates(tmp_path: Path, source: ClipSource) -> None:
    write_pictures(tmp_path, ODD, [0, 1, 2, 3, 4, 5, 0, 1])
    beyond = "word " * 90  # fills the context before the class is named
    metrics = report(tmp_path, source, [f"{CHINESE}嗎 {{}}", f"{CHINESE}吧 {beyond}{{}}"])
    names = list(metrics["prompt_sets"])
    assert len(set(names)) == 2 and len(metrics["comparisons"]) == 1
    assert metrics["cut_prompts"] == {name: len(ODD) for name in names}
    for name in names:
        assert {f.name for f in (tmp_path / "out" / "figures").glob(f"*_{name}.png")} >= {
            f"{kind}_{name}.png" for kind in ("confusion", "calibration", "gallery")
        }
        rows = pq.read_table(tmp_path / "out" / "predictions" / name).to_pylist()
        assert [row["label"] for row in rows] == [ODD[i] for i in (0, 0, 1, 1, 2, 3, 4, 5)]
        assert all(set(row["top5"]) < set(ODD) for row in rows)
    assert len(list((tmp_path / "out" / "changed").iterdir())) == 1
    last = pq.read_table(tmp_path / "out" / "predictions" / names[1])
    # the name is never read there, so all classes are alike, but for rounding
    probabilities = np.array(last["top5_probability"].to_pylist())
    np.testing.assert_allclose(probabilities, 1 / len(ODD), rtol=1e-4)


def test_one_class(tmp_path: Path, source: ClipSource) -> None:
    write_pictures(tmp_path, ["dog"], [0] * 4)
    metrics = report(tmp_path, source)
    assert metrics["chance"] == 1
    figures = metrics["prompt_sets"]["simple"]
    assert figures["top1"]["value"] == figures["mean_per_class_recall"]["value"] == 1


def test_two_classes_all_right_then_all_wrong(tmp_path: Path, source: ClipSource) -> None:
    names = ["red_brick", "the_sea"]
    write_pictures(tmp_path, names, [0] * 8)
    plan, listing = planned(settings(tmp_path), source)
    do(plan, source)
    found = predict(plan, listing.labels, "simple", tmp_path, False)
    said = found.classes[:, 0].tolist()
    for value, labels in ((1, said), (0, [1 - one for one in said])):
        write_pictures(tmp_path, names, labels)
        figures = report(tmp_path, source)["prompt_sets"]["simple"]
        assert figures["top1"]["value"] == value
        assert figures["top5"]["value"] == 1
        with Image.open(tmp_path / "out" / "figures" / "gallery_simple.png") as gallery:
            assert min(gallery.size) > 200


def test_the_hash_of_prompts_is_that_of_each_set_whatever_their_order(tmp_path: Path) -> None:
    def hashed(prompts: dict[str, list[list[str]]]) -> dict[str, str]:
        return Plan(EmbeddingStore(tmp_path, "key"), [], prompts, 0.0).hashes

    one, two = [["a cat"], ["a dog"]], [["cat"], ["dog"]]
    assert hashed({"one": one, "two": two}) == hashed({"two": two, "one": one})
    assert hashed({"one": one, "two": two}) != hashed({"one": two, "two": one})
    assert hashed({"one": one}) != hashed({"one": one[::-1]})
