"""What another job has learnt or drawn: in a folder, in a bucket, or of an MLflow run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from hw2.data.images import SUFFIXES
from hw2.errors import Hw2Error
from hw2.locate import find_folder
from hw2.personalize.embeddings import PICKLED
from hw2.places import cache_folder, uri_of

LEARNT = re.compile(r"(?!final\.)[^/]+\.safetensors")  # final.safetensors is the training's own
DRAWN = re.compile(
    rf"(?!figures/).+/.+({'|'.join(map(re.escape, SUFFIXES))})|together/prompts\.json|config\.yaml"
)


def learnt_files(out: Path) -> list[Path]:
    """What jobs.custom_diffusion and jobs.merge_concepts leave in OUT for those that draw."""
    return sorted(path for path in out.iterdir() if LEARNT.fullmatch(path.name))


@contextmanager
def learnt_at(place: str | Path, key: str) -> Iterator[Path]:
    """The folder, or file of an embedding, meant by `place`, the value of the setting `key`.

    A path, which need not be there, the URI of one in a bucket, or `run:ID` of MLflow. Raises
    CheckpointError if nothing learnt is at the address; errors of the block name the address, not
    the copy.
    """
    uri = uri_of(place)
    if uri and Path(urlsplit(uri).path).suffix in (".safetensors", *PICKLED):
        from hw2.bucket.fetching import fetch_file

        path = fetch_file(uri, key)
    else:
        path = find_folder(place, key, LEARNT, "learnt concept")
    with _named(path, place):
        yield path


@contextmanager
def drawn_at(place: Path, key: str) -> Iterator[Path]:
    """The folder of jobs.generate_concepts meant by `place`: itself, or a copy of one in a bucket.

    Raises CheckpointError if no pictures are at the URI; errors of the block name the URI, not the
    copy.
    """
    path = find_folder(place, key, DRAWN, "pictures")
    with _named(path, place):
        yield path


@contextmanager
def _named(copy: Path, place: str | Path) -> Iterator[None]:
    """Put `place` in the place of its `copy` in errors of the block."""
    try:
        yield
    except Hw2Error as error:
        if cache_folder() not in copy.parents:  # a folder itself: its name may be part of words
            raise
        raise type(error)(str(error).replace(str(copy), uri_of(place) or str(place))) from None
