"""The workers of a training tell each other how it stands, and go on or end alike."""

import json

from hw2.errors import ConfigError, Hw2Error


def agree(error: Hw2Error | None, world_size: int, word: str | None = None) -> list[str | None]:
    """Raise the first worker's error, if any has one; else the words of all. All must ask."""
    import torch.distributed

    told = [(error, word)] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(told, (error, word))
    for found, _ in told:
        if found is not None:
            raise found
    return [word for _, word in told]


def refuse_unlike(metas: list[str | None]) -> None:
    """Raise ConfigError, on every worker alike, if not all are about to train the same.

    Each would take its share of an order of its own, and they would learn from the mixture.
    """
    first, *others = (json.loads(meta or "{}") for meta in metas)
    for rank, other in enumerate(others, start=1):
        if differ := sorted(key for key in {**first, **other} if first.get(key) != other.get(key)):
            key = differ[0]
            raise ConfigError(
                f"{key}={other.get(key)} on worker {rank}, {first.get(key)} on worker 0: the nodes "
                "read different files under the same name; make them alike, or use a shared folder"
            )
