"""Prompts that a text encoder reads as they are meant."""

import re

from transformers import CLIPTokenizer

from hw2.errors import ConfigError, nearest

PLACEHOLDER = re.compile(r"<[^<>\s]+>")


def check_prompt(tokenizer: CLIPTokenizer, prompt: str, key: str = "prompt") -> None:
    """Raise ConfigError for a <word> in `prompt` that was not added, and for too long a prompt.

    Unknown ones would be read as their letters, and what is too long be cut, in silence.
    """
    shown = f"{key}={prompt[:80]!r}"
    for word in PLACEHOLDER.findall(prompt):
        if len(tokenizer.tokenize(word)) != 1:
            raise ConfigError(f"{shown}: {word[:80]} is no token: {_hint(tokenizer, word)}")
    count, limit = len(tokenizer(prompt, verbose=False).input_ids), tokenizer.model_max_length
    if count > limit:
        raise ConfigError(
            f"{shown} is {count} tokens with start and end, and the text encoder reads "
            f"{limit}; the rest would be cut: shorten it"
        )


def _hint(tokenizer: CLIPTokenizer, word: str) -> str:
    added = [t for t in tokenizer.get_added_vocab() if t not in tokenizer.all_special_tokens]
    if not added:
        return "none was added; load its embedding or deltas"
    return f"{nearest(word, added)} added are {', '.join(added)}".lstrip()
