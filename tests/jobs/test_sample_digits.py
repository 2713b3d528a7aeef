"""jobs.sample_digits: the same bytes whoever draws them, and what it refuses."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from hw2.weights import read_meta
from tests.jobs.command import Ended, Folder, as_words, wait_for_file

DOMAINS = ("mnistm", "svhn")


def settings(
    tree: Path, weights: Path, judging: Path, out: str, **more: object
) -> dict[str, object]:
    """Three pictures of each class in chunks of two, by six steps of DDIM."""
    return {
        "out": out,
        "model": weights,
        "judge": judging,
        "data.root": tree,
        "num_per_class": 3,
        "indices_per_chunk": 2,
        "num_inference_steps": 6,
        "eta": 0.5,
        **more,
    }


def made(out: Path) -> dict[str, bytes]:
    """All pictures under `out`, by name."""
    files = [path for kind in ("png", "gif") for path in out.rglob(f"*.{kind}")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pictures_do_not_depend_on_workers_or_interruptions(
    folder: Folder, digits_tree: Path, model: Path, judge: Path
) -> None:
    def given(out: str, workers: int) -> dict[str, object]:
        more = {"scaling.num_workers": workers}
        return settings(digits_tree, model, judge, out, **more)

    out = folder.path / "killed"
    job = folder.start("sample_digits", *as_words(given("killed", 0)))
    wait_for_file(out / "mnistm" / "9_003.png", job)
    job.kill()
    job.communicate()
    kept = {path: path.stat().st_mtime_ns for path in (out / "mnistm").iterdir()}
    assert len(kept) == 30
    assert len(made(out)) < 66 + 12
    by_ray = folder.run("sample_digits", *as_words(given("killed", 2)))
    assert by_ray.code == 0 and "Warning" not in by_ray.err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    # Without Ray, undisturbed, and with the threads that a user's machine gives.
    here = folder.run("sample_digits", *as_words(given("here", 0)), OMP_NUM_THREADS="2")
    assert here.code == 0

    want = made(folder.path / "here")
    states = {name for name in want if name.startswith("reverse/")}
    for domain in DOMAINS:
        shown = sorted(name for name in states if name.startswith(f"reverse/{domain}_t"))
        assert len(shown) == 6  # as many as in the strip, from data to noise
        assert shown[0].endswith("_t0000.png") and shown[-1].endswith("_t1000.png")
    assert set(want) - states == {
        f"{domain}/{digit}_{index:03d}.png"
        for domain in DOMAINS
        for digit in range(10)
        for index in (1, 2, 3)
    } | {
        f"figures/{domain}_{name}"
        for domain in DOMAINS
        for name in ("sheet.png", "reverse.png", "reverse.gif")
    }
    found = made(out)
    assert found.keys() == want.keys()
    assert [name for name in want if found[name] != want[name]] == []

    with Image.open(folder.path / "here/figures/svhn_reverse.gif") as gif:
        assert gif.n_frames == 7  # pure noise, then six steps
    with Image.open(folder.path / "here/svhn/7_002.png") as picture:
        assert (picture.size, picture.mode) == ((28, 28), "RGB")
    metrics = json.loads((folder.path / "here/metrics.json").read_text())
    # guidance acts at levels 667 and 500 of the six, from 0.4 to 0.7 of T
    assert metrics["eval/network_calls"] == 8
    for domain in DOMAINS:
        found = metrics[f"eval/accuracy/{domain}"]
        assert found["n"] == 30
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert f"figures/{domain}_sheet.png" in here.out
    assert "mlflow ui --backend-store-uri sqlite:///" in here.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "asset:nosuch"}, "model=asset:nosuch: no such asset; there is "),
        ({"model": "nosuch/final.safetensors"}, "nosuch/final.safetensors does not exist"),
        ({"model": "JUDGE"}, "holds no digit model; train one with jobs.train_ddpm"),
        ({"judge": "nosuch"}, "asset:NAME, or the course's Classifier.pth"),
        ({"judge": "MODEL"}, "holds no judge; train one with jobs.train_judge"),
        ({"num_inference_steps": 1001}, "num_inference_steps=1001: use 1 .. 1000"),
        ({"num_inference_steps": 0}, "num_inference_steps=0 on the command line: want "),
        ({"sampler": "dddim"}, "sampler=dddim on the command line: want one of ddim, ddpm, "),
        ({"data.root": "nosuch"}, "nosuch/digits/mnistm/val.csv: cannot be read"),
        ({"judge": "null", "against": "one"}, "against=one: wants a judge: leave out judge=null"),
        ({"num_pre_class": 3}, "unknown key num_pre_class on the command line: did you mean num_p"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_before_anything_is_made(
    change: dict[str, object],
    said: str,
    folder: Folder,
    digits_tree: Path,
    model: Path,
    judge: Path,
) -> None:
    change = {k: {"JUDGE": judge, "MODEL": model}.get(str(v), v) for k, v in change.items()}
    more = {"scaling.num_workers": 0} | change
    given = settings(digits_tree, model, judge, "out", **more)
    assert said in folder.run_here("sample_digits", given).refusal()
    assert list(folder.path.iterdir()) == []


@pytest.fixture
def draw_few(
    folder: Folder,
    digits_tree: Path,
    model: Path,
    judge: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Ended]:
    """Draw a picture of each class by one step, in this process."""
    monkeypatch.chdir(folder.path)

    def act(out: str = "out", **more: object) -> Ended:
        few: dict[str, object] = {"num_per_class": 1, "num_inference_steps": 1}
        few |= {"scaling.num_workers": 0, "guidance_interval": "0,1"}
        given = settings(digits_tree, model, judge, out, **{**few, **more})
        return folder.run_here("sample_digits", given)

    return act


def test_a_folder_keeps_to_its_settings_and_weights(
    folder: Folder, model: Path, draw_few: Callable[..., Ended]
) -> None:
    mine = folder.path / "mine.safetensors"
    mine.write_bytes(model.read_bytes())

    def drawn(out: str = "out", **more: object) -> tuple[int, str]:
        ended = draw_few(out, **{"model": mine, **more})
        return ended.code, ended.err.strip().rpartition("\n")[2]

    assert drawn()[0] == 0
    before = made(folder.path / "out")

    code, told = drawn(seed=1)
    assert code == 2
    assert told.startswith("error: out=")
    assert "holds results of other settings (seed: 0 there, 1 here)" in told

    halved = {key: value / 2 for key, value in load_file(model).items()}
    save_file(halved, mine, metadata={"hw2": json.dumps(read_meta(model))})
    code, told = drawn()
    assert code == 2
    assert "holds results of other settings (another model)" in told
    mine.write_bytes(model.read_bytes())

    (folder.path / "run").mkdir()
    shutil.copy(mine, folder.path / "run/final.safetensors")
    for where in ("run", "run/", "run/final.safetensors"):  # the same weights, wherever they lie
        assert drawn(model=where)[0] == 0
    code, told = drawn(model="asset:digits")
    assert code == 2 and "; another model): choose" in told
    assert made(folder.path / "out") == before

    (folder.path / "foreign").mkdir()
    (folder.path / "foreign" / "thesis.txt").write_text("mine")
    code, told = drawn("foreign")
    assert code == 2
    assert "holds files that no job has made" in told
    assert [path.name for path in (folder.path / "foreign").iterdir()] == ["thesis.txt"]

    assert made(folder.path / "out") == before
    assert drawn(seed=1, overwrite="true")[0] == 0
    assert made(folder.path / "out.old-1") == before
    assert made(folder.path / "out").keys() == before.keys()


def test_more_pictures_later_keep_those_that_are_there(
    folder: Folder, draw_few: Callable[..., Ended]
) -> None:
    assert draw_few(num_per_class=2).code == 0
    before = {path: path.stat().st_mtime_ns for path in folder.path.glob("out/*/?_*.png")}
    assert draw_few(num_per_class=3).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads(Path("out/metrics.json").read_text())["eval/accuracy"]["n"] == 60
    assert draw_few("at_once", num_per_class=3).code == 0
    assert made(Path("out")) == made(Path("at_once"))


def test_without_a_judge_the_same_is_drawn_where_no_real_pictures_are(
    draw_few: Callable[..., Ended],
) -> None:
    assert draw_few("judged").code == 0
    alone = draw_few("alone", judge="null", **{"data.root": "nosuch"})
    assert alone.code == 0 and "accuracy" not in alone.out
    found, want = made(Path("alone")), made(Path("judged"))
    assert found.keys() == want.keys()  # the sheets are headed svhn, not svhn-style
    assert [name for name in want if found[name] != want[name] and "figures/" not in name] == []
    assert json.loads(Path("alone/metrics.json").read_text()) == {"eval/network_calls": 2}
    assert not list(Path("alone").rglob("*.csv"))
    judged = draw_few("alone")  # of what is drawn
    assert judged.code == 0
    metrics = [json.loads(Path(out, "metrics.json").read_text()) for out in ("alone", "judged")]
    assert metrics[0] == metrics[1] and "eval/accuracy" in metrics[0]
    scores = Path("alone/tables/scores.csv")
    assert len(scores.read_text().splitlines()) > 1
    assert draw_few("alone", judge="null").code == 0
    assert len(scores.read_text().splitlines()) == 1  # as metrics.json has none


def test_two_models_are_compared_in_pairs(draw_few: Callable[..., Ended]) -> None:
    def drawn(out: str, **more: object) -> Ended:
        return draw_few(out, num_per_class=2, **more)

    assert drawn("one").code == 0
    two = drawn("two", guidance_weight=0, against="one")
    assert two.code == 0
    _, told = two.out.split("less that of one, on the same noises; *: shown to differ\n")
    found = {name: json.loads(Path(name, "metrics.json").read_text()) for name in ("one", "two")}
    pairs = {(row["metric"], row["domain"]): row for row in found["two"]["against"]}
    three, two_alone = {"mnistm", "svhn", "mean"}, {"mnistm", "svhn"}
    domains = {name: {d for m, d in pairs if m == name} for name, _ in pairs}
    assert domains == {
        "accuracy": three,
        "diversity": three,
        "diversity_pixels": three,
        "frechet_judge": two_alone,
        "kernel_judge": two_alone,
    }
    accuracy = [found[name]["eval/accuracy"]["value"] for name in ("one", "two")]
    assert pairs["accuracy", "mean"]["value"] == pytest.approx(accuracy[1] - accuracy[0])
    for (metric, domain), row in pairs.items():
        key = f"eval/{metric}" if domain == "mean" else f"eval/{metric}/{domain}"
        values = [found[name][key]["value"] for name in ("one", "two")]
        assert row["value"] == pytest.approx(values[1] - values[0])
    first = next(line for line in told.splitlines() if "judged accuracy, points" in line)
    assert f" {100 * (accuracy[1] - accuracy[0]):.1f} (" in first.split("│")[-2]
    table = Path("two/tables/differences.csv").read_text()
    assert table.startswith("metric,domain,noises,only_this,only_other,value,low,high\n")
    assert "\nfrechet_judge,svhn,2,,," in table
    assert "against" not in found["one"]
    assert drawn("one", against="two").code == 0  # the same folder, now compared
    with closing(sqlite3.connect("mlflow.db")) as store:
        found = store.execute("SELECT DISTINCT value FROM tags WHERE key='hash.against'").fetchall()
    assert len(found) == 2  # of the pictures of one, and of those of two
    assert drawn("three", seed=4, against="one").code == 2
    assert not Path("three").exists()


def test_weights_as_trained(draw_few: Callable[..., Ended], model: Path, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in load_file(model).items() if name[:4] == "ema."}
    both, alone = tmp_path / "both.safetensors", tmp_path / "alone.safetensors"
    meta = {"hw2": json.dumps(dict(read_meta(model)))}
    shifted = {name: tensor + 0.1 for name, tensor in tensors.items()}
    as_trained = {f"net.{name.removeprefix('ema.')}": value for name, value in shifted.items()}
    save_file(tensors | as_trained, both, metadata=meta)
    save_file(tensors, alone, metadata=meta)
    save_file(shifted, tmp_path / "other.safetensors", metadata=meta)

    def drawn(out: str, weights: Path, **more: object) -> dict[str, bytes]:
        assert draw_few(out, num_per_class=2, model=weights, **more).code == 0
        return made(Path(out))

    average, trained = drawn("average", both), drawn("trained", both, averaged="false")
    assert average == drawn("alone", alone) != trained
    assert trained == drawn("other", tmp_path / "other.safetensors")
    told = draw_few("none", model=alone, averaged="false").refusal()
    assert told.endswith("alone.safetensors: has averaged weights alone, none as trained: give a "
                         "training, or one of its checkpoints")  # fmt: skip
    assert not Path("none").exists()
