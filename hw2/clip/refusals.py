"""What open_clip and the hub raise, as one line; their own messages silenced."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator

from hw2.disclosure import describe
from hw2.errors import CheckpointError


@contextlib.contextmanager
def fetching(what: str) -> Iterator[None]:
    """Say that the network is asked for `what`; CheckpointError where it does not answer."""
    print(f"{what}: looking for its weights, on the network if they are not here yet", flush=True)
    with telling(
        lambda reason: (
            f"{what}: the weights cannot be fetched ({reason}): give a file that you "
            "have, or leave out --model and --pretrained for asset:clip, which needs no network"
        )
    ):
        yield


@contextlib.contextmanager
def telling(line: Callable[[str], str]) -> Iterator[None]:
    """What others raise here becomes a CheckpointError: `line` of the reason."""
    try:
        with _quiet(), _unasked():
            yield
    except CheckpointError:
        raise
    except Exception as error:  # pickles, shapes, parsers and the hub each raise their own kinds
        raise CheckpointError(line(describe(error))) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip and the hub tell the root logger what the error says again."""
    loggers = [logging.getLogger(name) for name in (None, "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _unasked() -> Iterator[None]:
    """transformers asks at a terminal whether a model's own code shall run; here it shall not."""
    from transformers import dynamic_module_utils as asking

    before, asking.TIME_OUT_REMOTE_CODE = asking.TIME_OUT_REMOTE_CODE, 0
    try:
        yield
    finally:
        asking.TIME_OUT_REMOTE_CODE = before
