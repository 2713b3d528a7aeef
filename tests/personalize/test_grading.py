"""Finding, checking and scoring generated pictures; scores as by open_clip itself and NumPy."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import ExifTags, Image

from hw2.clip.finding import find_clip
from hw2.clip.store import EmbeddingStore
from hw2.data.concepts import concept_pictures, read_concepts
from hw2.errors import DataError, Hw2Error
from hw2.figures.gallery import GalleryRow
from hw2.personalize import grade_report
from hw2.personalize.generated import concepts_in, find_generated
from hw2.personalize.grade_report import (
    difference_rows,
    grade_rows,
    picture_rows,
    picture_rows_together,
    source_rows,
    together_rows,
)
from hw2.personalize.grades import Grades
from hw2.personalize.grading import Embedder, Scores, score_pictures
from hw2.personalize.numbered import check_pictures
from hw2.settings.grading import GradeConceptsConfig
from tests.clip.small import MODEL_CFG, PREPROCESS_CFG, lively_clip, save_clip
from tests.personalize.drawn_tree import (
    SIDE,
    TEXTS,
    TOGETHER,
    WAYS,
    write_generated,
    write_input,
)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    weights = save_clip(tmp_path_factory.mktemp("clip") / "final.safetensors")
    return Embedder(find_clip(None, str(weights)), torch.device("cpu"), batch_size=4)


def settings(root: Path, **more: object) -> GradeConceptsConfig:
    values = {"input": root / "ti/input.json", "generated": root / "gen", "out": root / "out"}
    return GradeConceptsConfig.model_validate(values | more)


def kept(root: Path) -> EmbeddingStore:
    return EmbeddingStore(root / "embeddings", "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_input(tmp_path / "ti")
    write_generated(tmp_path / "gen")
    return tmp_path


class OpenClip:
    """The same model by open_clip's own transform and tokenizer, in NumPy from there."""

    def __init__(self) -> None:
        size = MODEL_CFG["vision_cfg"]["image_size"]
        self.transform = image_transform_v2(PreprocessCfg(size=size, **PREPROCESS_CFG), False)
        context = MODEL_CFG["text_cfg"]["context_length"]
        self.net, self.words = lively_clip(), open_clip.SimpleTokenizer(context_length=context)

    @torch.no_grad()
    def picture(self, path: Path) -> np.ndarray:
        with Image.open(path) as opened:
            return self.net.encode_image(self.transform(opened)[None])[0].double().numpy()

    @torch.no_grad()
    def text(self, text: str) -> np.ndarray:
        return self.net.encode_text(self.words([text]))[0].double().numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return 100 * float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))


def test_a_photograph_is_graded_upright(tmp_path: Path, embedder: Embedder) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(tmp_path / "0.png")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "1.png", exif=exif)
    found = embedder.pictures([tmp_path / "0.png", tmp_path / "1.png"], lambda _: None)
    torch.testing.assert_close(found[0], found[1])


def test_scores_are_those_of_open_clip(tree: Path, embedder: Embedder) -> None:
    concepts = read_concepts(tree / "ti/input.json")
    write_generated(tree / "before", together=False, noise=150)
    generated = find_generated(settings(tree, against=tree / "before"), concepts)
    counted: list[int] = []
    scores = score_pictures(embedder, kept(tree), concepts, generated, counted.append)
    assert len(generated.paths) == 2 * 42 and len(generated.paths_against) == 42
    assert sum(counted) == 2 * 42 + 42 + 9

    theirs = OpenClip()
    sources = {k: [theirs.picture(p) for p in of.pictures] for k, of in concepts.items()}

    def image(path: Path, source: str) -> float:
        picture = theirs.picture(path)
        return float(np.mean([cosine(picture, given) for given in sources[source]]))

    for (source, prompt), scored in scores.alone.items():
        paths = [
            tree / f"gen/{source}/{prompt}/source{source}_prompt{prompt}_{n}.png" for n in range(7)
        ]
        want = [image(path, source) for path in paths]
        np.testing.assert_allclose(scored.image, want, atol=1e-4)
        text = theirs.text(TEXTS[prompt])
        want = [cosine(theirs.picture(path), text) for path in paths]
        np.testing.assert_allclose(scored.text, want, atol=1e-4)
    before = tree / "before/1/0/source1_prompt0_6.png"
    assert float(scores.against["1", 0].image[6]) == pytest.approx(image(before, "1"), abs=1e-4)

    assert [list(ways) for ways in scores.together] == [list(WAYS)] * 2
    picture = tree / "gen/together/merged/1/merged_prompt1_3.png"
    want = [image(picture, "0"), image(picture, "1")]
    np.testing.assert_allclose(scores.together[1]["merged"][3], want, atol=1e-4)
    others = [of for k in "12" for of in concepts[k].pictures]
    assert scores.thresholds["0"] == pytest.approx(max(image(p, "0") for p in others), abs=1e-4)

    grades = Grades(concepts, generated, scores, seed=0)
    assert [grades.passed(("0", prompt)) for prompt in (0, 1)] == [True, False]
    change = scores.alone["2", 1].text - scores.against["2", 1].text
    assert grades.changes["2", 1]["text"].value == pytest.approx(float(change.mean()))
    both = [torch.minimum(*scores.together[0][way].T) for way in ("separate", "merged")]
    difference = grades.differences[0]["merged - separate"]
    assert difference.value == pytest.approx(float((both[1] - both[0]).mean()))
    assert difference.low < difference.value < difference.high
    found = json.loads(json.dumps(grades.to_json(), allow_nan=False))
    assert found["together"][1]["concepts"] == ["0", "1"]


def test_pictures_that_were_not_asked_for_do_not_count(
    tree: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    concepts = read_concepts(tree / "ti/input.json")
    asked = find_generated(settings(tree, num_pictures=5), concepts)
    assert {tuple(numbered) for numbered in asked.alone.values()} == {(0, 1, 2, 3, 4)}
    for one in asked.together:
        assert {tuple(numbered) for numbered in one.ways.values()} == {(0, 1, 2, 3, 4)}
    told = [
        f"warning: num_pictures=5: {2 * prompts} pictures with higher numbers do not count"
        for prompts in (len(asked.alone), 2 * len(WAYS))
    ]
    assert capsys.readouterr().err.splitlines() == told
    write_generated(tree / "before", count=6, together=False)
    few = find_generated(settings(tree, num_pictures=5, against=tree / "before"), concepts)
    assert {tuple(numbered) for numbered in few.against.values()} == {(0, 1, 2, 3, 4)}
    whole = find_generated(settings(tree, num_pictures=8), concepts)
    scores = score_pictures(embedder, kept(tree), concepts, whole, lambda _: None)
    assert Grades(concepts, whole, scores, 0, asked=7).passed(("0", 0))
    assert not Grades(concepts, whole, scores, 0, asked=8).passed(("0", 0))  # there are seven
    for path in (tree / "gen/together/merged").rglob("*_6.png"):
        path.unlink()  # what does not count needs no counterpart
    assert find_generated(settings(tree, num_pictures=5), concepts).together == asked.together
    for path in (tree / "gen/0/0").iterdir():
        path.rename(path.with_name(path.name.replace("prompt0_", "prompt0_1")))
    with pytest.raises(DataError, match=r"prompt0_10.png: num_pictures=5 is for numbers 0 to 4"):
        find_generated(settings(tree, num_pictures=5), concepts)


def graded_with_a_gap(tree: Path, embedder: Embedder) -> tuple[Scores, Grades]:
    """Against other pictures; of both one number is missing."""
    write_generated(tree / "before", together=False, noise=150)
    for folder in ("gen", "before"):
        (tree / folder / "0/0/source0_prompt0_1.png").unlink()
    concepts = read_concepts(tree / "ti/input.json")
    generated = find_generated(settings(tree, against=tree / "before"), concepts)
    scores = score_pictures(embedder, kept(tree), concepts, generated, lambda count: None)
    grades = Grades(concepts, generated, scores, seed=0)
    return scores, grades


def test_rows_have_each_pictures_own_scores(tree: Path, embedder: Embedder) -> None:
    """Pictures go by their numbers."""
    scores, grades = graded_with_a_gap(tree, embedder)
    told = picture_rows(grades)
    for key, scored in scores.alone.items():
        own = [row for row in told if (row["source"], row["prompt"]) == key]
        assert tuple(row["n"] for row in own) == scored.numbers
        for suffix, of in (("", scored), ("_against", scores.against[key])):
            assert [row[f"image{suffix}"] for row in own] == of.image.tolist()
            assert [row[f"text{suffix}"] for row in own] == of.text.tolist()
        first = sorted(own, key=lambda row: -(row["image"] + 2.5 * row["text"]))[:5]
        assert [row["best"] for row in first] == [1, 2, 3, 4, 5]
        assert sum(row["best"] is not None for row in own) == 5
        change = scored.image - scores.against[key].image
        assert grades.changes[key]["image"].value == pytest.approx(float(change.mean()))
    prompt = grades.to_json()["concepts"]["0"]["prompts"][0]
    flat = grades.flat()
    best = [row for row in told if (row["source"], row["prompt"]) == ("0", 0) and row["best"]]
    for kind in ("image", "text"):
        mean = pytest.approx(float(np.mean([row[kind] for row in best])))
        assert prompt[f"best_{kind}"] == mean == flat[f"eval/source0/prompt0/best_{kind}"]
    together = grades.together[1]["joint"]
    assert flat["eval/together/joint/prompt1/both"] == together.both
    assert flat["eval/together/joint/prompt1/there"] == together.there
    for row in source_rows(grades):
        name = row["source"]
        assert row["image, each other"] == f"{scores.likeness[name]:.2f}"
        assert row["threshold"] == f"{scores.thresholds[name]:.2f}"
        assert (row["token"], row["pictures"]) == (f"<new{int(name) + 1}>", 3)


def test_rows_of_several_concepts_have_their_own_scores(tree: Path, embedder: Embedder) -> None:
    for path in [*(tree / "gen/together/merged").rglob("*.png")]:
        path.rename(path.with_name(path.name.replace("merged", "ours+1")))
    (tree / "gen/together/merged").rename(tree / "gen/together/ours+1")
    concepts = read_concepts(tree / "ti/input.json")
    generated = find_generated(settings(tree), concepts)
    scores = score_pictures(embedder, kept(tree), concepts, generated, lambda count: None)
    grades = Grades(concepts, generated, scores, seed=0)
    assert [row[""] for row in grade_rows(grades)] == ["pass", "FAIL"] * 3
    assert "eval/together/ours_1/prompt0/both" in grades.flat()
    rows = {(row["prompt"], row["way"]): row for row in together_rows(grades)}
    pictures = picture_rows_together(grades)
    for place, pair in enumerate(((1, 3), (1, 2))):
        limits = torch.tensor([scores.thresholds[str(n - 1)] for n in pair])
        for way, own in scores.together[place].items():
            told = [rows[TOGETHER[place], way][f"image <new{n}>"] for n in pair]
            assert told == [str(one) for one in grades.together[place][way].own]
            drawn = [r for r in pictures if (r["way"], r["prompt"]) == (way, place)]
            assert [r["both_there"] for r in drawn] == (own > limits).all(1).tolist()
            assert [r["both"] for r in drawn] == own.amin(1).tolist()


def value(told: str) -> object:
    """The estimate in a cell, which has the digits that its limits allow."""
    return pytest.approx(float(told.split()[0]), abs=0.51)


def test_tables_tell_the_means_of_the_pictures(tree: Path, embedder: Embedder) -> None:
    scores, grades = graded_with_a_gap(tree, embedder)
    for row in grade_rows(grades):
        key = (row["source"], row["prompt"])
        of, before = scores.alone[key], scores.against[key]
        assert (row["pictures"], row["best"]) == (6 if key == ("0", 0) else 7, 5)
        assert row["baselines"] == ("-100, -100", "100, -100")[key[1]]
        best = np.argsort(-(of.image + 2.5 * of.text).numpy())[:5]
        for kind in ("image", "text"):
            own, then = getattr(of, kind).numpy(), getattr(before, kind).numpy()
            assert row[f"{kind}, best"] == f"{own[best].mean():.2f}"
            assert own.mean() == value(row[f"{kind}, all"])
            assert (own - then).mean() == value(row[f"{kind} - against"])
    rows = {(row["prompt"], row["way"]): row for row in together_rows(grades)}
    for place, prompt in enumerate(TOGETHER):
        both = {way: own.numpy().min(1) for way, own in scores.together[place].items()}
        for way, own in scores.together[place].items():
            row, there = rows[prompt, way], (own > grades.limits[place]).numpy().all(1)
            assert row["pictures"] == 7 and both[way].mean() == value(row["both"])
            assert row["both are there"].startswith(f"{100 * there.mean():.0f} % (")
        compared = [row for row in difference_rows(grades) if row["prompt"] == prompt]
        assert [row["ways"] for row in compared] == list(grades.differences[place])
        for row in compared:
            more, less = row["ways"].split(" - ")
            assert (both[more] - both[less]).mean() == value(row["both, difference"])


def test_a_sheet_has_each_pictures_own_scores(
    tree: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[GalleryRow] = []
    titles: list[str] = []

    def gallery(rows: list[GalleryRow], title: str) -> Image.Image:
        drawn.extend(rows)
        titles.append(title)
        return Image.new("L", (1, 1))

    monkeypatch.setattr(grade_report, "gallery", gallery)
    concepts = read_concepts(tree / "ti/input.json")
    generated = find_generated(settings(tree), concepts)
    scores = score_pictures(embedder, kept(tree), concepts, generated, lambda count: None)
    assert len(list(grade_report.sheets(Grades(concepts, generated, scores, seed=0)))) == 6
    of = scores.alone["0", 0]
    for picture, (image, text, number) in zip(drawn[1].pictures, drawn[1].notes, strict=True):
        n = int(number.removeprefix("picture "))
        assert (image, text) == (f"image {of.image[n]:.1f}", f"text {of.text[n]:.1f}")
        path = generated.alone["0", 0][n]
        assert np.array_equal(picture.movedim(0, -1).numpy(), np.asarray(Image.open(path)))
    # That of the last prompt: source 2, prompt 1.
    given, best = drawn[-2:]
    assert torch.equal(given.pictures, concept_pictures(concepts["2"], SIDE))
    assert best.label == "the best 5 of 7 for: a <new3> by the sea"
    of = scores.alone["2", 1]
    first = (of.image + 2.5 * of.text).topk(5).indices
    means = f"image {of.image[first].mean():.1f}, text {of.text[first].mean():.1f}"
    assert titles[-1] == f"source 2, prompt 1: FAIL ({means}; baselines 100, -100)"


def test_one_picture_of_one_concept(tmp_path: Path, embedder: Embedder) -> None:
    """Nothing to compare with: no threshold, no intervals, and still a grade."""
    content = json.loads(write_input(tmp_path / "ti").read_text())
    (tmp_path / "ti/input.json").write_text(json.dumps({"0": content["0"]}))
    for n in (1, 2):
        (tmp_path / f"ti/0/{n}.jpg").unlink()
    write_generated(tmp_path / "gen", count=1, together=False)
    concepts = read_concepts(tmp_path / "ti/input.json")
    generated = find_generated(settings(tmp_path), concepts)
    scores = score_pictures(embedder, kept(tmp_path), concepts, generated, lambda count: None)
    grades = Grades(concepts, generated, scores, seed=0)
    assert (scores.likeness, scores.thresholds) == ({}, {})
    assert grades.best(("0", 1)) == [0]
    found = json.loads(json.dumps(grades.to_json(), allow_nan=False))["concepts"]["0"]
    assert (found["threshold"], found["prompts"][0]["pictures"]) == (None, 1)
    assert found["prompts"][0]["image"]["low"] is None


def test_numbers_are_sorted_as_numbers(tree: Path) -> None:
    write_generated(tree / "gen", count=12, together=False)
    (tree / "gen/0/0/source0_prompt0_4.png").unlink()
    (tree / "gen/0/0/._source0_prompt0_4.png").write_bytes(b"of another system")
    (tree / "gen/together/.thumbnails").mkdir()
    generated = find_generated(settings(tree), read_concepts(tree / "ti/input.json"))
    assert list(generated.together[0].ways) == list(WAYS)
    assert list(generated.alone["0", 0]) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]


def test_a_way_that_the_job_did_not_name_comes_last(tree: Path) -> None:
    for name in ("A", "B"):
        write_generated(tree / "gen")
        merged = tree / "gen/together/merged"
        for path in [*merged.rglob("*.png")]:
            path.rename(path.with_name(path.name.replace("merged", name)))
        merged.rename(merged.with_name(name))
    write_generated(tree / "gen")
    generated = find_generated(settings(tree), read_concepts(tree / "ti/input.json"))
    assert list(generated.together[0].ways) == [*WAYS, "A", "B"]


def test_pictures_of_one_concept_are_graded_beside_those_of_several(tree: Path) -> None:
    generated = find_generated(
        settings(tree, sources=("2",)), read_concepts(tree / "ti/input.json")
    )
    assert list(generated.alone) == [("2", 0), ("2", 1)]
    assert [one.concepts for one in generated.together] == [("0", "2"), ("0", "1")]


def test_a_folder_that_does_not_say_its_seed_may_be_compared(tree: Path) -> None:
    concepts, before = read_concepts(tree / "ti/input.json"), tree / "before"
    write_generated(before, together=False)
    for said, other in ((tree / "gen", before), (before, tree / "gen")):
        (said / "config.yaml").write_text("seed: 3\n")
        (other / "config.yaml").unlink(missing_ok=True)
        assert find_generated(settings(tree, against=before), concepts).against


def test_the_tokens_tell_the_concepts(tree: Path) -> None:
    concepts = read_concepts(tree / "ti/input.json")
    where = Path("prompts.json")
    assert concepts_in("a <NEW3>, then a <new1>", concepts, where) == ("2", "0")
    content = json.loads((tree / "ti/input.json").read_text())
    content["1"]["token_name"] = "sks"
    (tree / "ti/input.json").write_text(json.dumps(content))
    concepts = read_concepts(tree / "ti/input.json")
    assert concepts_in("risks: an sks beside <new1>s", concepts, where) == ("1", "0")
    with pytest.raises(DataError, match="has 1 concepts, want two"):
        concepts_in("a <new1> that risks it", concepts, where)
    content["1"]["token_name"] = "<new1>"
    (tree / "ti/input.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"sources 0 and 1 of input\.json share <new1>"):
        concepts_in("a <new1> and <new3>", read_concepts(tree / "ti/input.json"), where)


def rewrite(content: object) -> Callable[[Path], object]:
    return lambda gen: (gen / "together/prompts.json").write_text(json.dumps(content))


def link_out(gen: Path) -> None:
    path = gen / "0/1/source0_prompt1_3.png"
    path.symlink_to(path.rename(gen.parent / "elsewhere.png"))


def reshape(gen: Path) -> None:
    Image.new("RGB", (20, 19)).save(gen / "1/1/source1_prompt1_2.png")


def tear(gen: Path) -> None:
    path = gen / "together/joint/0/joint_prompt0_2.png"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda gen: gen.rename(gen.parent / "x"), "gen is no folder"),
        (lambda gen: (gen / "1").rename(gen / "x"), "gen/1 does not exist: draw the pictures of"),
        (lambda gen: (gen / "1/0").rename(gen / "x"), "gen/1/0: no pictures: want source1_prompt0"),
        (lambda gen: (gen / "1/0").rename(gen / "1/2"), "1/2: no such prompt: source 1 in input"),
        (
            lambda gen: (gen / "0/1/source0_prompt1_3.png").rename(
                gen / "0/1/source0_prompt0_3.png"
            ),
            "0/1/source0_prompt0_3.png: want the name source0_prompt1_N.png",
        ),
        (
            lambda gen: (gen / "0/1/source0_prompt1_3.png").rename(
                gen / "0/1/source0_prompt1_3.PNG"
            ),
            "0/1/source0_prompt1_3.PNG: want the name source0_prompt1_N.png",
        ),
        (
            lambda gen: (gen / "0/1/source0_prompt1_3.png").rename(
                gen / "0/1/source0_prompt1_03.png"
            ),
            "0/1/source0_prompt1_03.png: want the name source0_prompt1_N.png, N from 0 on",
        ),
        (link_out, "0/1/source0_prompt1_3.png: it leaves the folder by a link"),
        (reshape, "1/1/source1_prompt1_2.png is 20x19: want a square"),
        (tear, "joint/0/joint_prompt0_2.png: broken picture"),
        (
            lambda gen: (gen / "together/joint/0/joint_prompt0_2.png").unlink(),
            "separate/0/separate_prompt0_2.png has no picture of the same number in",
        ),
        (
            lambda gen: (gen / "together/merged/1").rename(gen / "x"),
            "together/merged/1: no pictures: want merged_prompt1_0.png",
        ),
        (lambda gen: (gen / "together/prompts.json").unlink(), "it does not exist"),
        (rewrite([]), "it is broken"),
        (rewrite({"prompts": "a <new1> and <new2>"}), "its prompts are no list of texts"),
        (rewrite({"prompts": ["\ud800 <new1> <new2>"]}), "its prompts are no list of texts"),
        (rewrite({"prompts": TOGETHER, "ways": [1]}), "its ways are no list of texts"),
        (rewrite({"prompts": []}), "it has none"),
        (rewrite({"prompts": TOGETHER[:1]}), "joint/1: no such prompt"),
        (
            rewrite({"prompts": [TOGETHER[0], "<new1> and <new4>"]}),
            "<new4> is no token: input.json",
        ),
        (rewrite({"prompts": [TOGETHER[0], "a dog"]}), "'a dog' has 0 concepts, want two"),
    ],
)
def test_bad_folders(spoil: Callable[[Path], object], said: str, tree: Path) -> None:
    concepts = read_concepts(tree / "ti/input.json")
    check_pictures(find_generated(settings(tree), concepts).paths)
    spoil(tree / "gen")
    with pytest.raises(DataError) as error:
        check_pictures(find_generated(settings(tree), concepts).paths)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_other_bad_input(tree: Path, embedder: Embedder) -> None:
    concepts = read_concepts(tree / "ti/input.json")
    other = write_generated(tree / "other", count=6, together=False)
    with pytest.raises(DataError, match=r"gen/0/0/source0_prompt0_6\.png has no picture"):
        find_generated(settings(tree, against=other), concepts)
    write_generated(other, count=8, together=False)
    with pytest.raises(DataError, match=r"other/0/0/source0_prompt0_7\.png has no picture"):
        find_generated(settings(tree, against=other), concepts)
    with pytest.raises(Hw2Error, match="7"):
        find_generated(settings(tree, sources=("7",)), concepts)

    embedder.check_texts(["sea " * 10])
    with pytest.raises(DataError, match=r"is 13 tokens with start and end, and .* reads 12"):
        embedder.check_texts(["the sea", "sea " * 11])


def test_equal_pictures_have_equal_hashes(tree: Path) -> None:
    paths = sorted((tree / "gen/0/0").iterdir())
    before = check_pictures(paths)
    assert check_pictures(paths) == before
    assert check_pictures(paths[1:]) != before
    swapped = [paths[1], paths[0], *paths[2:]]
    assert check_pictures(swapped) != before
    moved = paths[0].rename(paths[0].with_name("source0_prompt0_9.png"))
    assert check_pictures([moved, *paths[1:]]) != before
    moved.rename(paths[0]).write_bytes(paths[1].read_bytes())
    assert check_pictures(paths) != before
