"""The jobs of personalization as a user starts them; refusals."""

import gc
import json
import re
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from hw2.locate import FINAL
from hw2.personalize import generating, prior
from hw2.personalize.deltas import WEIGHTS
from hw2.personalize.embeddings import read_tensors
from hw2.runlog.entries import read_entries
from hw2.text2image import loading
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.model import StableDiffusion
from hw2.weights import described, write_tensors
from tests.jobs.command import Ended, Folder, as_words, last_step, wait_for_work
from tests.personalize.small_input import write_input
from tests.personalize.tiny import tiny_pipeline_folder

FEW = {
    "train.batch_size": 4,
    "train.checkpoint_every": 2,
    "num_shown": 1,
    "sample.num_inference_steps": 2,
    "templates": "plain_object",
}


@pytest.fixture
def place(folder: Folder) -> dict[str, object]:
    """A tiny pipeline and three concepts in the working folder, as settings."""
    tiny_pipeline_folder(folder.path / "pipeline")
    write_input(folder.path / "concepts", "012")
    return {"model": "pipeline", "input": "concepts/input.json"}


def learn(folder: Folder, job: str, place: dict[str, object], **settings: object) -> None:
    given = place | FEW | {"train.num_steps": 4, "scaling.num_workers": 0} | settings
    ended = folder.run_here(job, given)
    assert ended.code == 0, ended.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_pictures_to_grades(folder: Folder, place: dict[str, object]) -> None:
    for source in "01":
        learn(folder, "textual_inversion", place, source=source, out=f"inversion_{source}")
        settings = {"sources": source, "prior.num_pictures": 2, "out": f"custom_{source}"}
        learn(folder, "custom_diffusion", place, **settings)
    joint = {"sources": "0,1", "prior.weight": 0, "out": "joint"}
    learn(folder, "custom_diffusion", place, **joint)
    captions = folder.path / "captions.txt"
    captions.write_text("a photo of a cup\na red car on the street\n")
    merge = {"model": "pipeline", "concepts": "custom_0,custom_1", "captions": captions}
    ended = folder.run_here("merge_concepts", merge | {"num_targets": 2, "out": "merged"})
    assert ended.code == 0, ended.err
    assert json.loads((folder.path / "merged/metrics.json").read_text())["worst_residual"] < 1e-6
    weights = folder.path / "merged" / WEIGHTS  # as an earlier version rounded them
    tensors, meta = read_tensors(weights, 2**20)
    write_tensors(weights, {k: v * (1 + 3e-7) for k, v in tensors.items()}, described(meta))
    before = weights.read_bytes()
    ended = folder.run_here("merge_concepts", merge | {"num_targets": 2, "out": "merged"})
    assert ended.code == 0 and weights.read_bytes() == before

    draw = {
        **place,
        "sources": "0,1",
        "num_pictures": 3,
        "num_inference_steps": 2,
        "together": "a <new1> next to a <new2>",
        "separate": "inversion_0,inversion_1",
        "joint": "joint",
        "merged": "merged",
    }
    here = draw | {"scaling.num_workers": 0, "out": "drawn"}
    by_ray = draw | {"scaling.num_workers": 2, "out": "drawn_by_ray"}
    assert folder.run_here("generate_concepts", here).code == 0
    assert folder.run("generate_concepts", *as_words(by_ray)).code == 0
    drawn = sorted(p.relative_to(folder.path / "drawn") for p in folder.path.glob("drawn/**/*.png"))
    names = [str(path) for path in drawn]
    assert (
        "0/0/source0_prompt0_2.png" in names and "together/merged/0/merged_prompt0_0.png" in names
    )
    assert len(names) == 2 * 3 + 3 * 3 + 3  # concepts, ways, sheets
    for name in names:
        pixels = [
            np.asarray(Image.open(folder.path / out / name)) for out in ("drawn", "drawn_by_ray")
        ]
        assert np.array_equal(*pixels), name

    grade = {"input": "concepts/input.json", "sources": "0,1", "generated": "drawn"}
    ended = folder.run_here("grade_concepts", grade | {"out": "grades"})
    assert ended.code == 0, ended.err
    assert set(Path(folder.path / "grades").glob("*.json"))
    statuses = folder.query("SELECT status FROM runs")
    assert statuses == [("FINISHED",)] * len(statuses) and len(statuses) == 9


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_inversion_on_two_workers_whose_driver_is_killed_goes_on(
    folder: Folder, place: dict[str, object]
) -> None:
    """Without Ray, to what one process learns that nobody disturbs."""
    more = {"source": "0", "train.num_steps": 40, "train.checkpoint_every": 4, "train.log_every": 1}
    out = folder.path / "killed"
    given = as_words(place | FEW | more | {"out": "killed", "scaling.num_workers": 2})
    with (folder.path / "log").open("w+") as log:
        job = folder.start("textual_inversion", *given, log=log)
        wait_for_work(lambda: last_step(out / "journal.jsonl") > 4, job)
        job.kill()
        job.wait()
        log.seek(0)
        assert not (out / FINAL).exists(), log.read()
    for name in ("killed", "here"):
        learn(folder, "textual_inversion", place, **more, out=name)
    killed, here = (load_file(folder.path / name / FINAL) for name in ("killed", "here"))
    assert killed.keys() == here.keys()
    for name, learnt in here.items():
        torch.testing.assert_close(killed[name], learnt, rtol=0, atol=1e-5)
    rows = [entry for entry, _ in read_entries(out / "journal.jsonl") if entry]
    assert [row.step for row in rows if row.kind == "metrics"] == list(range(1, 41))
    starts = [row.values["starts"] for row in rows if "starts" in row.values][-1]
    assert re.fullmatch(r"step 0 on 2, step [1-9]\d* on 1", starts)


@pytest.mark.parametrize(
    ("job", "settings"), [("textual_inversion", {}), ("custom_diffusion", {"prior.weight": 0})]
)
def test_more_may_be_shown_later_with_the_same_model_that_lies_elsewhere_now(
    folder: Folder, place: dict[str, object], job: str, settings: dict[str, object]
) -> None:
    given = settings | {"train.num_steps": 2, "out": "out"}
    learn(folder, job, place, **given)
    (folder.path / "pipeline").rename(folder.path / "moved")
    gone = folder.run_here(job, place | FEW | given)
    assert "pipeline: no such file or folder; give a folder" in gone.refusal()
    learn(folder, job, place | {"model": "moved"}, **given, num_shown=2)


@pytest.mark.parametrize(
    ("job", "settings"), [("textual_inversion", {}), ("custom_diffusion", {"prior.weight": 0})]
)
def test_a_training_with_other_captions_or_another_text_encoder_is_another(
    folder: Folder, place: dict[str, object], job: str, settings: dict[str, object]
) -> None:
    own = folder.path / "own.txt"
    own.write_text("a photo of a {}\na picture of {}\n")
    given = settings | {"templates": "own.txt", "out": "out"}
    learn(folder, job, place, **given)
    sums = folder.path / "out/inputs.json"
    before = json.loads(sums.read_text())
    older = {k: v for k, v in before.items() if k.startswith("concept")} | {"model": "0" * 64}
    sums.write_text(json.dumps(older))
    learn(folder, job, place, **given)  # one that an older version began
    assert json.loads(sums.read_text()) == before | older
    own.write_text("a photo of a {}\n")
    weights = folder.path / "pipeline/text_encoder/model.safetensors"
    changed = load_file(weights)
    changed["final_layer_norm.weight"] *= 1.5
    save_file(changed, weights, metadata={"format": "pt"})
    ended = folder.run_here(job, place | FEW | {"train.num_steps": 4} | given)
    told = "results of other settings (another pipeline; other captions)"
    assert told in ended.refusal()


def test_pictures_of_a_class_that_has_another_word_now_are_not_kept(
    folder: Folder, place: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"train.num_steps": 2, "prior.num_pictures": 2, "scaling.num_workers": 0, "out": "out"}
    few = {**place, **FEW, **few}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prior, "write_captions", stop)
        assert folder.run_here("custom_diffusion", few).code == 130
    drawn = folder.path / "out/prior/train/00000.png"
    before = drawn.read_bytes()
    record = folder.path / "concepts/input.json"
    content = record.read_text()
    record.write_text(content.replace('"cat"', '"dog"'))
    told = folder.run_here("custom_diffusion", few).refusal()
    assert "results of other settings (other captions)" in told
    record.write_text(content)
    ended = folder.run_here("custom_diffusion", few)
    assert ended.code == 0 and drawn.read_bytes() == before
    assert "weights and tokens: " in ended.out and "kept energy" not in ended.out


def test_pictures_of_another_prompt_or_model_are_not_kept(
    folder: Folder, place: dict[str, object]
) -> None:
    few = {"untrained": "true", "num_pictures": 1, "pictures_per_chunk": 1, "out": "out"}
    few |= {**place, "num_inference_steps": 2, "scaling.num_workers": 0}

    def draw(*together: str, **more: object) -> Ended:
        return folder.run_here(
            "generate_concepts", {**few, "together": json.dumps(together), **more}
        )

    def drawn() -> dict[Path, int]:
        pictures = folder.path.glob("out/*/**/*_0.png")
        return {path: path.stat().st_mtime_ns for path in pictures}

    first, second, third = (f"a <new{a}> next to a <new{b}>" for a, b in ("12", "13", "23"))
    assert draw(first).code == 0
    before = drawn()
    assert len(before) == 4
    assert draw(first, second).code == 0  # a list may grow
    assert len(drawn()) == 5 and before.items() <= drawn().items()
    assert draw(first).code == 0  # and shrink, which leaves pictures
    before = drawn()
    for together, name in ((third,), "0"), ((first, third), "1"):
        told = draw(*together).refusal()
        assert f"results of other settings (another prompt.together/untrained/{name})" in told

    record = folder.path / "concepts/input.json"
    content = record.read_text()
    record.write_text(content.replace("a photo of a <new2>", "a painting of a <new2>"))
    assert "(another prompt.1/0)" in draw(first).refusal()
    record.write_text(content)

    shutil.copytree(folder.path / "pipeline", folder.path / "moved")
    assert draw(first, model="moved").code == 0
    weights = folder.path / "moved/vae/diffusion_pytorch_model.safetensors"
    changed = load_file(weights)
    changed["decoder.conv_out.bias"] += 1
    save_file(changed, weights, metadata={"format": "pt"})
    assert "(another model)" in draw(first, model="moved").refusal()
    assert drawn() == before


def test_who_asks_for_pictures_holds_no_model_beside_that_of_who_draws(
    folder: Folder, place: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[nn.Module]] = []
    held: list[int] = []

    def load(model: str) -> StableDiffusion:
        gc.collect()
        held.append(sum(unet() is not None for unet in loaded))
        found = load_stable_diffusion(model)
        loaded.append(weakref.ref(found.unet))
        return found

    for module in (loading, generating):  # of who asks, of who draws
        monkeypatch.setattr(module, "load_stable_diffusion", load)
    few = {**place, "untrained": "true", "num_pictures": 1, "pictures_per_chunk": 1, "out": "out"}
    few |= {"sources": "0", "num_inference_steps": 2, "scaling.num_workers": 0}
    assert folder.run_here("generate_concepts", few).code == 0
    assert held == [0, 0]


@pytest.mark.parametrize(
    ("job", "settings", "told"),
    [
        ("textual_inversion", {"token_name": "cat"}, "already in the vocabulary"),
        ("custom_diffusion", {"initializer_tokens": "red car"}, "'red car' is 2 tokens"),
        ("custom_diffusion", {"sources": "7"}, "source=7: no such concept; there is 0, 1, 2"),
        ("custom_diffusion", {"sources": "0,1", "token_names": "<a>"}, "1 entries for 2 sources"),
        ("generate_concepts", {"separate": "<new1>=none.bin"}, "none.bin: "),
        ("generate_concepts", {"untrained": "true", "eta": 0.5}, "eta=0.5: only sampler ddim"),
        (
            "generate_concepts",
            {"untrained": "true", "together": "a photo of a <new1>"},
            "together: prompt='a photo of a <new1>' has 1 concepts, want two: input.json has <new",
        ),
        ("textual_inversion", {"sample.eta": 0.5}, "sample.eta=0.5: only sampler ddim has it"),
        ("custom_diffusion", {"sample.sampler": "ddpm"}, "visits all "),
        ("textual_inversion", {"sample.negative_prompt": "<no>"}, "negative_prompt='<no>': <no> "),
    ],
)
def test_refused_before_anything_is_made(
    folder: Folder, place: dict[str, object], job: str, settings: dict[str, object], told: str
) -> None:
    ended = folder.run_here(job, {**place, **settings, "out": "out"})
    assert told in ended.refusal() and not (folder.path / "out").exists()


@pytest.mark.parametrize(
    ("job", "key", "value", "told"),
    [
        ("train_text2image", "sample.eta", 0.5, "sample.eta=0.5: only sampler ddim has it"),
        ("train_faces", "num_inference_steps", 1001, "num_inference_steps=1001"),
    ],
)
def test_how_the_sheets_are_drawn_is_refused_before_the_training(
    folder: Folder, job: str, key: str, value: object, told: str
) -> None:
    ended = folder.run_here(job, {"train.num_steps": 1, key: value, "out": "out"})
    assert told in ended.refusal() and list(folder.path.iterdir()) == []


def test_a_broken_source_picture_is_refused_before_the_drawing(
    folder: Folder, place: dict[str, object]
) -> None:
    (folder.path / "concepts/1/02.jpg").write_bytes(b"torn")
    given = {**place, "untrained": "true", "out": "out"}
    assert "concepts/1/02.jpg: not a picture" in (
        folder.run_here("generate_concepts", given).refusal()
    )
    assert not (folder.path / "out").exists()


def test_nothing_learnt_is_refused(folder: Folder, place: dict[str, object]) -> None:
    ended = folder.run_here("generate_concepts", {**place, "out": "out"})
    assert "nothing was learnt" in ended.refusal() and not (folder.path / "out").exists()
    untrained = {**place, "untrained": "true", "together": "a <new9>", "out": "out"}
    ended = folder.run_here("generate_concepts", untrained)
    assert "<new9> is no token" in ended.refusal() and not (folder.path / "out").exists()
