"""The jobs' commands of the documents, run in reading order in one folder as a reader would.

Each at the smallest size that means something: the words that SMALL adds come last and win. All in
this process, without Ray. What needs a network, a GPU or the course's files is in ELSEWHERE.
"""

import contextlib
import importlib
import json
import re
import runpy
import sqlite3
from pathlib import Path
from typing import get_type_hints

import mlflow
import pytest
import torch
from PIL import Image

from hw2.data.concepts import read_concepts
from hw2.digits.drawing import load_digit_model
from hw2.job import run_job
from tests.docs.documents import ROOT, SHELL, blocks, commands, logged_names, named_files

PAGES = ("README", "docs/tutorial", "docs/digits", "docs/faces", "docs/clip", "docs/sweeps")
PAGES += ("docs/data", "docs/personalization")
# In a command: it is of another place, which is not here.
ELSEWHERE = ("/datasets/", "openai", "torchvision", "CompVis/")

HERE = "--scaling.num_workers 0"
STEPS = f"{HERE} --train.num_steps 2 --train.batch_size 4 --train.checkpoint_every 2"
NETWORK = "--network.patch 4 --network.channels 64 --network.attention false"
CONCEPT = f"{STEPS} --num_shown 1 --sample.num_inference_steps 2"
TREE = "--num_train 20 --num_val 20 --num_faces 20 --num_noises 2 --num_clip_train 20"
DRAWN = f"{HERE} --samples 1 --num_inference_steps 2"
FEW = f'{DRAWN} --space {{"sampler":{{"grid":["ddim","dpmpp"]}}}} --baseline {{"sampler":"ddim"}}'
PLAIN = f"{FEW} --search.method grid --scheduler.method fifo"  # the others need Ray
# By the configuration, or else the job.
SMALL = {
    "prepare_data": f"{TREE} --num_clip_val 1 --num_text2image 40",
    "train_ddpm": f"{STEPS} {NETWORK} --sample.num_inference_steps 2 --num_per_class 1",
    "sample_digits": f"{HERE} --num_per_class 1 --num_inference_steps 5",  # which the strip passes
    "train_judge": STEPS,
    "sample_faces": f"{HERE} --num_inference_steps 2",
    "eta_sheet": f"{HERE} --num_inference_steps 2 --etas 0,1 --noises 00,01",
    "interpolate_faces": f"{HERE} --num_inference_steps 2 --num_alphas 3",
    "train_faces": f"{STEPS} --num_inference_steps 2",
    "clip_zero_shot": HERE,
    "train_clip": STEPS,
    "train_autoencoder": STEPS,
    "train_text2image": f"{STEPS} --sample.num_inference_steps 2",
    "textual_inversion": CONCEPT,
    "custom_diffusion": f"{CONCEPT} --prior.num_pictures 2",
    "merge_concepts": "--num_captions 20",
    "generate_concepts": f"{HERE} --num_pictures 1 --num_inference_steps 2",
    "grade_concepts": HERE,
    "guidance": f'{DRAWN} --space {{"guidance_weight":{{"grid":[0,2]}}}}',
    "few_steps": FEW,
    "my_sweep": FEW,
    "random_asha": PLAIN,
    "by_optuna": PLAIN,
    "eta": f'{HERE} --samples 2 --space {{"eta":{{"grid":[0,1]}}}} --num_inference_steps 2',
}
# What `make demo` has done when the tutorial goes on.
MADE = ["jobs.prepare_data --out hw2_data", "jobs.train_ddpm --config jobs/configs/demo.yaml"]
# Of `make concepts`, of which the page on personalization shows the first concept alone.
CONCEPTS = [
    f"jobs.{job} --config jobs/configs/{job}.yaml {key} {source} --out outputs/{name}_{source}"
    for job, key, name in (
        ("textual_inversion", "--source", "inversion"),
        ("custom_diffusion", "--sources", "custom"),
    )
    for source in "12"
]


def job_commands(page: Path) -> list[tuple[str, ...]]:
    """Module and words of the page's job commands that can be run here."""
    return [
        command.words[2:]
        for block in blocks(page)
        if block.language in SHELL
        for command in commands(block)
        if command.words[1:2] == ("-m",) and command.words[2].startswith("jobs.")
        if not {"--help", "--print_config"} & set(command.words)
        if not any(place in word for word in command.words for place in ELSEWHERE)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the configurations and a small tree."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("jobs", "tune_configs"):
        (folder / name).symlink_to(ROOT / name)
    for words in (*MADE, *CONCEPTS):
        assert run(folder, tuple(words.split())) == 0, words
    (folder / "my_data").symlink_to("hw2_data")  # a reader's own
    return folder


def run(folder: Path, command: tuple[str, ...]) -> int:
    """The exit code of a job's command with what SMALL adds."""
    module, *words = command
    config = Path(words[words.index("--config") + 1]).stem if "--config" in words else ""
    words += SMALL.get(config, SMALL.get(module.removeprefix("jobs."), "")).split()
    main = importlib.import_module(module).main
    with contextlib.chdir(folder):
        return run_job(get_type_hints(main)["config"], main, argv=words)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_work_one_after_the_other(name: str, place: Path) -> None:
    page = ROOT / f"{name}.md"
    for file, text in named_files(page).items():
        if not (ROOT / file).exists():
            (place / file).write_text(text)
    for command in job_commands(page):
        if command[0] == "jobs.prepare_data":  # `place` has a tree
            continue
        assert run(place, command) == 0, command
        out = place / command[command.index("--out") + 1]
        assert json.loads((out / "metrics.json").read_text())


# Of one picture a class, and in one part, these cannot be computed.
NOT_OF_FEW = ("diversity", "kernel_judge", "pictures_per_second")


@pytest.mark.slow
def test_mlflow_has_the_metrics_that_a_page_lists(place: Path) -> None:
    listed = logged_names(ROOT / "docs/outputs.md")
    every, of_trial = listed.pop("every training"), listed.pop("a trial of theirs")
    del listed["report"]  # which no page runs
    sql = """SELECT DISTINCT e.name, m.key FROM metrics m
        JOIN runs r USING (run_uuid) JOIN experiments e USING (experiment_id)"""
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as store:
        logged = store.execute(sql).fetchall()
    seen = set()
    for job, name in [(job, re.sub(r"\.(low|high)$", "", name)) for job, name in logged]:
        training = job.startswith("train_") or job in ("textual_inversion", "custom_diffusion")
        patterns = [*listed[job], *every * training, *of_trial * job.startswith("tune_")]
        fits = [(job, pattern) for pattern in patterns if re.fullmatch(pattern, name)]
        assert fits, (job, name)
        seen.update(fits)
    never = {(job, pattern) for job, patterns in listed.items() for pattern in patterns} - seen
    assert [one for one in never if not any(word in one[1] for word in NOT_OF_FEW)] == []


@pytest.mark.slow
def test_what_a_page_loads_into_plain_diffusers_answers_as_here(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    (place / "hw2").symlink_to(ROOT / "hw2")
    loaded = runpy.run_path("load_digits.py")
    net = load_digit_model(Path("outputs/ddpm/final.safetensors")).net
    x, t = torch.randn(3, 3, 28, 28), torch.tensor(700)
    digit, domain = torch.tensor([0, 9, 10]), torch.tensor([1, 0, 2])
    with torch.no_grad():
        want = net(x, t.expand(3), digit, domain)
    torch.testing.assert_close(loaded["predict"](x, t, digit, domain), want, rtol=0, atol=1e-4)

    pipe = runpy.run_path("load_concept.py")["pipe"]
    assert "<new1>" in pipe.tokenizer.get_vocab()
    kinds = {type(processor).__name__ for processor in pipe.unet.attn_processors.values()}
    assert kinds & {"CustomDiffusionAttnProcessor", "CustomDiffusionAttnProcessor2_0"}


@pytest.mark.slow
def test_runs_are_compared_in_python(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    text = named_files(ROOT / "docs/outputs.md")["compare_runs.py"]
    (place / "compare_runs.py").write_text(text)
    try:
        runs = runpy.run_path("compare_runs.py")["runs"]
    finally:
        mlflow.set_tracking_uri(None)
    runs = runs[runs["metrics.eval/accuracy"].notna()]  # without a judge there is none
    assert len(runs) >= 2
    low, value, high = (runs[f"metrics.eval/accuracy{end}"] for end in (".low", "", ".high"))
    assert ((low <= value) & (value <= high)).all()


@pytest.mark.slow
def test_contrasts_are_made_of_a_sweep_that_was_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    runpy.run_path("contrasts.py")
    told = capsys.readouterr().out.splitlines()
    assert {line.split("} ")[1].split()[0] for line in told} >= {"accuracy", "kernel_judge/svhn"}
    assert all("dpmpp" in line for line in told)


def test_a_concept_of_ones_own_is_read_as_the_page_has_it(tmp_path: Path) -> None:
    (text,) = [b.text for b in blocks(ROOT / "docs/data.md") if b.language == "json"]
    (tmp_path / "input.json").write_text(text)
    (tmp_path / "mug").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "mug/0.png")
    (mug,) = read_concepts(tmp_path / "input.json").values()
    assert (mug.source, mug.initializer_token, mug.kind) == ("mug", "mug", "object")
    assert len(mug.prompts) == len(mug.prompts_for_score) == len(mug.baselines) == 1


def test_the_jobs_that_the_documents_run_are_all_of_them() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("[!_]*.py")}
    told = {command[0] for page in PAGES for command in job_commands(ROOT / f"{page}.md")}
    assert jobs - {word.removeprefix("jobs.") for word in told} == {"release_asset", "report"}
