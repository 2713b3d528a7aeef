"""What another job has learnt or drawn: in a folder, in a bucket, or of an MLflow run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from hw2.data.images import SUFFIXES
from hw2.errors import CheckpointError
from hw2.locate import FINAL, find_folder, naming
from hw2.personalize.embeddings import PICKLED
from hw2.places import uri_of

# final.safetensors is the training's own; others leave what they trained as .bin.
LEARNT = re.compile(r"(?!final\.)[^/]+\.(safetensors|bin)")
DRAWN = re.compile(
    rf"(?!figures/).+/.+({'|'.join(map(re.escape, SUFFIXES))})|together/prompts\.json|config\.yaml"
)


def learnt_files(out: Path) -> list[Path]:
    """What jobs.custom_diffusion and jobs.merge_concepts leave in OUT for those that draw."""
    return sorted(path for path in out.glob("*.safetensors") if path.name != FINAL)


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
    with naming(place, path):
        yield path


@contextmanager
def drawn_at(place: Path, key: str) -> Iterator[Path]:
    """The folder of jobs.generate_concepts meant by `place`: itself, or a copy of one in a bucket.

    Raises CheckpointError if no pictures are at the URI, and for a run; errors of the block name
    the URI, not the copy.
    """
    if str(place).startswith("run:"):
        raise CheckpointError(
            f"{key}={place}: no run of MLflow keeps pictures: give the folder or the URI of a "
            "jobs.generate_concepts"
        )
    path = find_folder(place, key, DRAWN, "pictures")
    with naming(place, path):
        yield path
