"""Where learnt concepts and drawn pictures may lie: a folder, a bucket, a run of MLflow."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hw2.errors import BusyError, CheckpointError
from hw2.job import run_job
from hw2.lock import JOB_LOCK, only_writer
from hw2.personalize.deltas import (
    WEIGHTS,
    Deltas,
    base_hash,
    cross_attention_weights,
    row_file,
    save_deltas,
)
from hw2.personalize.embeddings import TokenEmbedding, save_embedding
from hw2.personalize.finding import DRAWN, LEARNT, drawn_at, learnt_files
from hw2.personalize.inversion import EMBEDDING
from hw2.personalize.merging import read_concepts_to_merge
from hw2.personalize.others import DELTA, PICKLED_WEIGHTS
from hw2.personalize.ways import read_ways
from hw2.settings.grading import GradeConceptsConfig
from hw2.settings.personalize import GenerateConceptsConfig
from hw2.text2image.model import StableDiffusion
from jobs import grade_concepts
from tests.buckets import BucketServer
from tests.personalize.small_input import write_input
from tests.personalize.test_others import with_processors
from tests.personalize.tiny import WIDTH, tiny_model
from tests.stores import start

pytest_plugins = ["tests.bucket_fixtures", "tests.store_fixtures"]


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is empty, and the store in which jobs look for runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)


def made(folder: Path, model: StableDiffusion, token: str, rank: int | None = None) -> Deltas:
    """What a jobs.custom_diffusion of this token leaves in `folder`, other files beside it."""
    base = {name: weight.detach() for name, weight in cross_attention_weights(model.unet).items()}
    about = {"step": 4, "captions": [[f"a photo of {token}"]]}
    rows = {token: torch.full((WIDTH,), 0.5)}
    hash_of_base = base_hash(model.unet, model.text_encoder)
    found = Deltas(hash_of_base, {k: w + 0.25 for k, w in base.items()}, rows, about)
    save_deltas(folder, found, base, rank)
    (folder / "final.safetensors").write_bytes(b"the training's own")
    (folder / "metrics.json").write_text("{}")
    return found


def kept_in_mlflow(folder: Path, store: str) -> str:
    """`run:ID` of a run with what is learnt, and more, in `folder`."""
    with start(folder, store) as tracker:
        for path in (*learnt_files(folder), folder / "final.safetensors", folder / "metrics.json"):
            tracker.log_file(path)
    return f"run:{tracker.run_id}"


@pytest.mark.parametrize("rank", [None, 1000], ids=["whole", "low rank"])
@pytest.mark.parametrize("kind", ["folder", "bucket", "run"])
def test_weights_and_rows_are_found(
    kind: str, rank: int | None, tmp_path: Path, store: str, bucket_server: BucketServer
) -> None:
    model = tiny_model()
    want = made(tmp_path / "custom", model, "<new1>", rank)
    place = {
        "folder": lambda: str(tmp_path / "custom"),
        "bucket": lambda: bucket_server.upload(tmp_path / "custom", f"custom_{rank}"),
        "run": lambda: kept_in_mlflow(tmp_path / "custom", store),
    }[kind]()
    config = GenerateConceptsConfig(out=tmp_path / "out", joint=place)
    found = read_ways(config, model, {})["joint"]
    assert found.rows.keys() == {"<new1>"} and found.weights.keys() == want.weights.keys()
    assert torch.equal(found.rows["<new1>"], want.rows["<new1>"])
    for name, weight in want.weights.items():
        torch.testing.assert_close(found.weights[name], weight, atol=1e-5, rtol=1e-5)
    [merged] = read_concepts_to_merge([Path(place)], model)
    assert all(torch.equal(merged.weights[name], found.weights[name]) for name in found.weights)


@pytest.mark.parametrize("kind", ["file", "folder", "token", "run"])
def test_a_row_is_found(kind: str, tmp_path: Path, store: str, bucket_server: BucketServer) -> None:
    out = tmp_path / "inversion"
    out.mkdir()
    save_embedding(out / EMBEDDING, TokenEmbedding("<new1>", torch.ones(WIDTH)), {})
    for name in ("final.safetensors", "metrics.json"):
        (out / name).write_text("")
    uri = bucket_server.upload(out, "inversion")
    given, token = {
        "file": lambda: (bucket_server.uri(f"inversion/{EMBEDDING}"), "<new1>"),
        "folder": lambda: (uri, "<new1>"),
        "token": lambda: (f"<cat>={uri}", "<cat>"),
        "run": lambda: (kept_in_mlflow(out, store), "<new1>"),
    }[kind]()
    config = GenerateConceptsConfig(out=tmp_path / "out", separate=(given,))
    rows = read_ways(config, tiny_model(), {})["separate"].rows
    assert rows.keys() == {token} and torch.equal(rows[token], torch.ones(WIDTH))


def test_what_is_being_learnt_is_not_read(tmp_path: Path) -> None:
    """A run that goes on to more steps has what it had learnt before, which would be taken."""
    model = tiny_model()
    made(tmp_path / "custom", model, "<new1>")
    config = GenerateConceptsConfig(out=tmp_path / "out", joint=tmp_path / "custom")
    row = str(tmp_path / "custom" / row_file("<new1>"))
    of_a_file = GenerateConceptsConfig(out=tmp_path / "out", separate=(row,))
    assert read_ways(of_a_file, model, {})["separate"].rows.keys() == {"<new1>"}
    with only_writer(tmp_path / "custom", 0.0, JOB_LOCK):
        for read in (
            lambda: read_ways(config, model, {}),
            lambda: read_ways(of_a_file, model, {}),
            lambda: read_concepts_to_merge([tmp_path / "custom"], model),
        ):
            with pytest.raises(BusyError, match="custom: a job is still at work there: wait for"):
                read()


def test_what_is_wrong_is_told_of_the_address(
    tmp_path: Path, store: str, bucket_server: BucketServer
) -> None:
    model = tiny_model()
    other = replace(model, unet=tiny_model(seed=1).unet)
    made(tmp_path / "custom", other, "<new1>")
    uri = bucket_server.upload(tmp_path / "custom", "other")
    address = uri.partition("?")[0]
    run = kept_in_mlflow(tmp_path / "custom", store)
    nothing, absent = bucket_server.uri("nothing"), "run:0123abcd"
    for place, told in (
        (uri, f"^{address}/pytorch_custom.*: was made for another base model"),
        (run, f"^{run}/pytorch_custom.*: was made for another base model"),
        (
            nothing,
            "^joint=s3://results/nothing: has no learnt concept: give the URI of",
        ),
        (absent, f"^joint={absent}: there is no {absent} in the tracking store"),
    ):
        config = GenerateConceptsConfig(out=tmp_path / "out", joint=place)
        with pytest.raises(CheckpointError, match=told):
            read_ways(config, model, {})
    (tmp_path / "custom" / WEIGHTS).write_bytes(b"torn")
    bucket_server.upload(tmp_path / "custom", "torn")
    config = GenerateConceptsConfig(out=tmp_path / "out", joint=bucket_server.uri("torn"))
    with pytest.raises(CheckpointError, match=f"^s3://results/torn/{WEIGHTS}: not a readable"):
        read_ways(config, model, {})
    with pytest.raises(CheckpointError, match=r"^separate=s3://results/no\.bin: no such file$"):
        config = GenerateConceptsConfig(
            out=tmp_path / "out", separate=(bucket_server.uri("no.bin"),)
        )
        read_ways(config, model, {})


def test_what_is_wrong_in_a_folder_is_told_in_whole_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    for given in ("./a", "a/", "<new1>=./a"):
        config = GenerateConceptsConfig(out="out", separate=(given,))
        told = f"^separate={given}: has no {EMBEDDING}: give a folder of jobs.textual_inversion;"
        with pytest.raises(CheckpointError, match=told):
            read_ways(config, tiny_model(), {})


def test_names_that_are_fetched() -> None:
    names = ("a.safetensors", "<new1>.bin", "final.safetensors", "b/a.safetensors", "a.pt")
    assert [name for name in names if LEARNT.fullmatch(name)] == ["a.safetensors", "<new1>.bin"]
    shown = ("0/0/source0_prompt0_0.png", "together/joint/0/joint_prompt0_1.png", "x/0/a.jpg")
    assert all(DRAWN.fullmatch(name) for name in (*shown, "together/prompts.json", "config.yaml"))
    for name in ("figures/source_0.png", "sheet.png", "0/0/a.txt", "journal", "metrics.json"):
        assert not DRAWN.fullmatch(name), name


@pytest.mark.parametrize("name", [WEIGHTS, PICKLED_WEIGHTS, DELTA])
def test_what_others_trained_is_found_in_a_bucket(
    name: str,
    tmp_path: Path,
    store: str,
    bucket_server: BucketServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, row = tiny_model(), torch.ones(WIDTH)
    if name == DELTA:
        weights = {k: w.detach() for k, w in cross_attention_weights(model.unet).items()}
        torch.save({"unet": weights, "modifier_token": {"<new1>": row}}, tmp_path / name)
    else:
        theirs = with_processors(model.unet)
        theirs.save_attn_procs(tmp_path, safe_serialization=name == WEIGHTS)
        torch.save({"<new1>": row}, tmp_path / "<new1>.bin")
    uri = bucket_server.upload(tmp_path, f"of_{len(name)}")
    config = GenerateConceptsConfig(out=tmp_path / "out", joint=uri)
    assert read_ways(config, model, {})["joint"].rows.keys() == {"<new1>"}
    said = f"warning: joint={uri.partition('?')[0]}: does not tell its base model"
    assert said in capsys.readouterr().err


def test_no_run_keeps_pictures() -> None:
    told = r"^generated=run:1: no run of MLflow keeps pictures"
    with pytest.raises(CheckpointError, match=told), drawn_at(Path("run:1"), "generated"):
        pass


def test_what_is_wrong_with_pictures_is_told_of_the_address(
    tmp_path: Path, store: str, bucket_server: BucketServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "0" / "0"
    pictures.mkdir(parents=True)
    (pictures / "source0_prompt0_0.png").write_bytes(b"torn")
    uri = bucket_server.upload(tmp_path / "0", "drawn/0")
    for source, told in (
        ("0", "s3://results/drawn/0/0/source0_prompt0_0.png: not a picture"),
        ("1", "s3://results/drawn/1 does not exist"),
    ):
        argv = ["--input", str(write_input(tmp_path / f"of_{source}")), "--sources", source]
        argv += ["--generated", uri.replace("drawn/0", "drawn"), "--out", str(tmp_path / "out")]
        assert run_job(GradeConceptsConfig, grade_concepts.main, argv=argv) == 2
        assert f"error: {told}" in capsys.readouterr().err
