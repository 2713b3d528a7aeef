"""Every command of the documents is one that its program takes: no misspelt key, option or target.

What a user types is read by the same reader; nothing is run here (see test_runs.py).
"""

import os
from pathlib import Path

import pytest

from tests.docs.checks import Refused, check
from tests.docs.documents import (
    ROOT,
    Block,
    Command,
    all_commands,
    blocks,
    commands,
    documents,
    named_files,
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as a reader has it who made the files that the documents let him make."""
    folder = tmp_path_factory.mktemp("reader")
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("outputs", "mlflow.db"):
            (folder / path.name).symlink_to(path)
    for file in documents():
        for name, text in named_files(file).items():
            if "/" not in name:  # folders are links into the checkout
                (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("command", all_commands(), ids=lambda c: f"{c.place} {c.words[0]}")
def test_the_program_takes_the_command(
    command: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    check(command.words)


def of_text(text: str) -> list[Command]:
    return list(commands(Block(Path("page.md"), 10, "", text)))


def test_a_block_is_cut_into_its_commands() -> None:
    found = of_text(
        "# first\n"
        "export A=1 && make demo   # all\n"
        "FLAG=on python -m jobs.x --out 'a b' \\\n    --seed 3 > log 2>&1; ls | cat\n"
        "for s in 0 1; do echo $s; done\n"
        "cat > f.yaml <<EOF\nnot: a command\nEOF\n"
        "$ make test\n"
    )
    assert [c.words for c in found] == [
        ("export", "A=1"),
        ("make", "demo"),
        ("python", "-m", "jobs.x", "--out", "a b", "--seed", "3"),
        ("ls",),
        ("cat",),
        ("echo", "0"),
        ("cat",),
        ("make", "test"),
    ]
    assert [c.place for c in found][:3] == ["page.md:12", "page.md:12", "page.md:13"]


def test_a_script_has_the_words_that_its_head_gives_it() -> None:
    found = of_text('# bash f.sh in.json out\npython -m jobs.x --input "$1" --out "${2}" $3\n')
    assert [c.words for c in found] == [
        ("python", "-m", "jobs.x", "--input", "in.json", "--out", "out", "$3")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python -m jobs.sample_digits --guidance_wait 2 --out x", "unknown key guidance_wait"),
        ("python -m jobs.sample_digits --sampler dimm --out x", "want one of ddim, ddpm"),
        ("python -m jobs.sample_digit --out x", "no such module"),
        ("python -m jobs.train_ddpm --config jobs/configs/nosuch.yaml --out x", "nosuch.yaml"),
        ("python -m jobs.sample_digits --guidance_weight 2", "required key out is missing"),
        ("make demmo", "demmo"),
        ("ray start --haed", "--haed"),
        ("ray jobs submit -- python x.py", "jobs"),
        ("ray job submit --working-dir . -- python -m jobs.train_ddpm --outt x", "outt"),
        ("mlflow ui --backend-store-uri sqlite:///mlflow.db --prot 5000", "--prot"),
        ("python benchmarks/merge_shapes.py --concept_count 3", "--concept_count"),
        ("python benchmarks/nosuch.py", "no such file"),
        ("rm -rf /", "in no list"),
    ],
)
def test_a_misspelt_command_is_found(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = of_text(text)
    with pytest.raises(Refused, match=said.replace("--", "-{0,2}")):
        check(command.words)
    assert Path.cwd() == ROOT and os.environ.get("RAY_ADDRESS") is None


def test_every_block_says_what_it_is() -> None:
    known = {"", "sh", "text", "yaml", "python", "json", "csv", "ini", "nginx"}
    odd = [f"{b.file}:{b.line} {b.language}" for f in documents() for b in blocks(f)]
    odd = [line for line in odd if line.split(" ")[1] not in known]
    assert not odd
