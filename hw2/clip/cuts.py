"""Texts of which a CLIP model reads the beginning alone, and classes that become one by it."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hw2.clip.tokenizing import Tokenize, context_length, counts_of_rows
from hw2.disclosure import warn

SHOWN = 5


def warn_of_prompts(
    tokenize: Tokenize, sets: Mapping[str, Sequence[Sequence[str]]], names: Sequence[str]
) -> dict[str, int]:
    """A line on stderr for each set with prompts that are cut, and with classes that are alike.

    Args:
        tokenize: of the model.
        sets: the prompts of each class, by the name of their set.
        names: of the classes.
    Returns: how many prompts are cut, by set.
    """
    limit, cut = context_length(tokenize), dict[str, int]()
    for title, prompts in sets.items():
        too_long = list[str]()
        classes = defaultdict[bytes, list[str]](list)
        for name, own in zip(names, prompts, strict=True):
            rows = tokenize([*own, ""], context_length=limit + 2)
            too_long += [own[at] for at in (counts_of_rows(rows) > limit).nonzero().flatten()]
            # The last token that is read is the end, or nothing.
            read = rows[:, : limit - 1].contiguous().numpy().data
            classes[hashlib.sha256(read).digest()].append(name)
        cut[title] = len(too_long)
        if too_long:
            warn(
                f"prompts {title}: {len(too_long)} of {sum(map(len, prompts))} are cut at the "
                f"{limit} tokens that the model reads, for instance {too_long[0][:200]!r}"
            )
        alike = [group for group in classes.values() if len(group) > 1]
        if alike:
            listed = "; ".join(_listed(group) for group in alike[:SHOWN])
            more = f"; and {len(alike) - SHOWN} more such groups" * (len(alike) > SHOWN)
            warn(
                f"prompts {title}: nothing tells classes apart whose tokens are the same: "
                f"{listed}{more}"
            )
    return cut


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:200]) for name in names[:SHOWN])
    return shown + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
