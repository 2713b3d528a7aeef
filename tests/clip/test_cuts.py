"""Prompts and captions of which a model reads the beginning alone, and classes alike by it."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable

import open_clip
import pytest
import torch
from torch import Tensor

from hw2.clip.cuts import warn_of_prompts
from hw2.clip.finding import find_clip
from hw2.clip.loading import load_clip
from hw2.clip.prompts import prompt_sets
from hw2.clip.tokenizing import count_tokens
from hw2.clip.zero_shot import class_embeddings
from tests.clip.small import lively_clip
from tests.jobs.command import ROOT

LIMIT = 12  # of lively_clip
TOKENIZE = open_clip.SimpleTokenizer(context_length=LIMIT)
LONG = "a place in the afternoon of a very old and worn red brick wall"
ALSO_LONG = "a place in the afternoon of a very old and worn green field"


def told(capsys: pytest.CaptureFixture[str], *names: str, clean: bool = True) -> list[str]:
    sets = prompt_sets(["a {}|the {}"], [clean])
    cut = warn_of_prompts(TOKENIZE, {"mine": sets[0].prompts(names)}, names)
    lines = capsys.readouterr().err.splitlines()
    assert cut == {"mine": 2 * sum("afternoon" in name for name in names)}
    return lines


def test_cut_prompts_and_the_classes_that_they_make_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two = told(capsys, "dog", LONG, "cat", ALSO_LONG)
    assert one == (
        "warning: prompts mine: 4 of 8 are cut at the 12 tokens that the model reads, for instance "
        f"'{LONG}'"
    )
    assert two == (
        "warning: prompts mine: nothing tells classes apart whose tokens are the same: "
        f"'{LONG}', '{ALSO_LONG}'"
    )
    [both] = [prompt_sets(["a {}"], [True])[0].prompts([LONG, ALSO_LONG])]
    embedded = class_embeddings(lively_clip(), TOKENIZE, both)
    assert float(embedded[0] @ embedded[1]) == pytest.approx(1, abs=1e-6)


def test_names_that_cleaning_makes_one(capsys: pytest.CaptureFixture[str]) -> None:
    names = "red_brick", "Red Brick", "dog", "red brick", "sea\n", "SEA"
    [line] = told(capsys, *names)
    assert line.endswith("same: 'red_brick', 'Red Brick', 'red brick'; 'sea\\n', 'SEA'")
    [line] = told(capsys, *names[:4], clean=False)
    assert line.endswith("same: 'Red Brick', 'red brick'")
    assert told(capsys, "dog", "cat") == []


def test_the_end_takes_the_place_of_the_last_token(capsys: pytest.CaptureFixture[str]) -> None:
    same = "place in the afternoon of a very old tall"  # its next word would be the twelfth token
    _, alike = told(capsys, f"{same} tree", f"{same} wall", "dog")
    assert alike.endswith(f"same: '{same} tree', '{same} wall'")
    assert told(capsys, "place in the sea of a very old tree", "dog") == []  # twelve with its end


def test_many_groups_and_names_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = told(capsys, *map("".join, itertools.product("dD", "oO", "gG")))
    assert line.endswith("same: 'dog', 'doG', 'dOg', 'dOG', 'Dog' and 3 more")
    [line] = told(capsys, *(name for n in range(7) for name in (f"dog {n}", f"Dog {n}")))
    assert line.endswith("; 'dog 4', 'Dog 4'; and 2 more such groups")


def filled_with_its_end(texts: list[str], context_length: int = LIMIT) -> Tensor:
    """As SigLIP's: no start, and ends up to the context."""
    rows = TOKENIZE(texts, context_length=context_length + 1)[:, 1:]
    return torch.where(rows == 0, TOKENIZE.eot_token_id, rows)


@pytest.mark.parametrize(("tokenize", "more"), [(TOKENIZE, 2), (filled_with_its_end, 0)])
def test_the_counts_are_those_of_the_tokenizer(tokenize: Callable[..., Tensor], more: int) -> None:
    texts = ["", "sea", "sea " * 10, "sea " * 11, "a sea, 🐱"]
    want = [len(TOKENIZE.encode(text)) + more for text in texts]
    assert count_tokens(tokenize, texts).tolist() == want
    assert count_tokens(tokenize, texts, LIMIT).tolist() == [min(n, LIMIT) for n in want]


def test_the_driver_tokenizes_without_open_clip() -> None:
    """Its import takes seconds and 260 MB."""
    texts = ["", LONG, "“a SEA” &amp; 🐱"]
    program = (
        "import sys; from hw2.clip.finding import find_clip; import hw2.clip.cuts as cuts; "
        "from hw2.clip.tokenizing import load_tokenizer; "
        f"print(load_tokenizer(find_clip(None, None))({texts!a}).tolist()); "
        "print([m for m in ('open_clip', 'torchvision', 'timm') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows, modules = told.stdout.splitlines()
    want = load_clip(find_clip(None, None)).tokenize(texts)
    assert (json.loads(rows), modules) == (want.tolist(), "[]")
