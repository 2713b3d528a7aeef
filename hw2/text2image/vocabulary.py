"""A part of CLIP's vocabulary, large enough for given captions."""

import gzip
import json
import tempfile
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import bytes_to_unicode, default_bpe
from transformers import CLIPTokenizer

NUM_MERGES = 48_894  # of CLIP
START, END = "<|startoftext|>", "<|endoftext|>"

Pair = tuple[str, str]


@cache
def clip_merges() -> tuple[Pair, ...]:
    """CLIP's merges of byte pairs, the commonest first (Radford et al. 2021, section 2.4)."""
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 1 + NUM_MERGES]
    return tuple((first, second) for first, second in (line.split() for line in lines))


def merges_of(word: str) -> set[int]:
    """Places of the merges that make `word` (lower case, of letters) into CLIP's tokens."""
    ranks, used = _ranks(), set[int]()
    letters = [bytes_to_unicode()[byte] for byte in word.encode()]
    parts = [*letters[:-1], letters[-1] + "</w>"]
    while True:
        found = [
            (ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks
        ]
        if not found:
            return used
        rank, place = min(found)
        used.add(rank)
        parts[place : place + 2] = ["".join(parts[place : place + 2])]


@cache
def _ranks() -> dict[Pair, int]:
    return {pair: place for place, pair in enumerate(clip_merges())}


def words_of(captions: Iterable[str]) -> list[str]:
    """The words of captions, in lower case, each once, sorted."""
    text = " ".join(captions).lower()
    return sorted(set("".join(c if c.isalpha() else " " for c in text).split()))


def small_tokenizer(captions: Iterable[str], num_merges: int, context_length: int) -> CLIPTokenizer:
    """CLIP's tokenizer with its first `num_merges` merges and those of the captions' words.

    Words of the captions become the tokens that they are in CLIP; others may become more.
    """
    used = set(range(min(num_merges, NUM_MERGES)))
    for word in words_of(captions):
        used |= merges_of(word)
    merges = [clip_merges()[place] for place in sorted(used)]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["".join(pair) for pair in merges] + [START, END]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {token: place for place, token in enumerate(tokens)}
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (Path(folder) / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=context_length)
