"""What a zero-shot run has to do: which embeddings are there, which are to be made."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.clip.finding import ClipSource
from hw2.clip.prompts import PromptSet
from hw2.clip.store import EmbeddingStore
from hw2.clip.work import Piece, rows_per_part
from hw2.data.labels import read_labels
from hw2.data.listing.parts import Part
from hw2.data.listing.pictures import Listing, list_pictures
from hw2.errors import ConfigError
from hw2.places import cache_folder, uri_of
from hw2.settings.values import Precision
from hw2.settings.zero_shot import ClipZeroShotConfig

TEXTS_PER_PIECE = 2048
CACHE = ".embeddings"


def find_pictures(config: ClipZeroShotConfig) -> Listing:
    """The pictures and classes that the settings mean, listed and not opened."""
    if "@" in config.images.partition("://")[2].partition("/")[0]:
        raise ConfigError(  # without the value
            "images: an address with keys in it would be logged: put them into the environment, as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    path = config.labels
    if path is None and "://" not in config.images:
        folder = Path(config.images).expanduser().absolute()
        beside, inside = folder.parent / "id2label.json", folder / "id2label.json"
        path = beside if beside.is_file() else None
        if path is None and inside.is_file():
            raise ConfigError(
                f"images={config.images}: has id2label.json in it, which lies beside a folder of "
                f"pictures: give that, as {config.images.rstrip('/')}/val, or --labels {inside} if "
                "its folders are the classes"
            )
    labels = None if path is None else read_labels(path)
    return list_pictures(
        config.images, labels, config.layout, config.image_column, config.label_column
    )


@dataclass
class Plan:
    """The work of a run, and what of it is done.

    `content[i]` is the hash under which the store has the embeddings of `parts[i]`.
    """

    store: EmbeddingStore
    parts: Sequence[Part]
    prompts: dict[str, list[list[str]]]  # by prompt set
    began: float  # time.time() of the job's start
    content: dict[int, str] = field(default_factory=dict)
    finished: list[tuple[float, int]] = field(default_factory=list)  # time, pictures

    @classmethod
    def make(
        cls,
        config: ClipZeroShotConfig,
        source: ClipSource,
        listing: Listing,
        sets: Sequence[PromptSet],
        began: float,
        precision: Precision,
    ) -> "Plan":
        """What `listing` and `sets` want, less what the store has; `began` is the job's start.

        Embeddings are kept apart by `precision`, so that it should be no "auto".
        Raises ConfigError if something is to be made and the store cannot be written.
        """
        if uri := config.cache and uri_of(config.cache):
            raise ConfigError(
                f"cache={uri}: want a folder; on a cluster one that all nodes share (NFS)"
            )
        beside = cache_folder() if uri_of(config.out) else config.out.absolute().parent
        cache = config.cache or beside / CACHE
        store = EmbeddingStore(cache.absolute(), source.embedding_key(precision))
        parts = listing.parts(rows_per_part(source.preprocess, config.batch_size))
        prompts = {one.name: one.prompts(listing.labels.names) for one in sets}
        plan = cls(store, parts, prompts, began)
        known = {i: store.content_of(part) for i, part in enumerate(parts)}
        plan.content = {i: content for i, content in known.items() if content}
        if plan.pieces():
            store.make()
        return plan

    @property
    def hashes(self) -> dict[str, str]:
        """Of the prompts, which may come from a file."""
        text = json.dumps(self.prompts, sort_keys=True)
        return {"prompts": hashlib.sha256(text.encode()).hexdigest()}

    @property
    def content_hash(self) -> str:
        """sha256 over the hashes of the parts, once all are done: of the bytes of their pictures.

        What is kept is not read again, so that there are no hashes of single pictures. Equal
        pictures have another if they are parted otherwise (`rows_per_part`).
        """
        contents = [self.content[i] for i in range(len(self.parts))]
        return hashlib.sha256("".join(contents).encode()).hexdigest()

    @property
    def num_pictures(self) -> int:
        """Pictures in all, good or bad."""
        return sum(len(part.table) for part in self.parts)

    @property
    def num_known(self) -> int:
        """Pictures whose embeddings are there."""
        return sum(len(self.parts[i].table) for i in self.content)

    def pieces(self) -> list[Piece]:
        """The work that is left, texts first."""
        texts = [
            {"prompts": chunk}
            for prompts in self.prompts.values()
            for chunk in text_chunks(prompts)
            if not self.store.has_texts(chunk)
        ]
        pictures = [{"part": p} for i, p in enumerate(self.parts) if i not in self.content]
        return texts + pictures

    def take(self, results: Iterable[Piece]) -> Iterator[int]:
        """Note each result; yields how many pictures it had."""
        for result in results:
            if "part" in result:
                self.content[result["part"]] = result["content"]
                self.finished.append((result["finished"], result["count"]))
                yield result["count"]

    def pace(self) -> dict[str, float]:
        """Seconds until the first part was done, and pictures a second after that.

        Empty where nothing had to be done.
        """
        if not self.finished:
            return {}
        times = [time for time, _ in self.finished]
        found = {"seconds_to_first_part": min(times) - self.began}
        if max(times) > min(times):
            found["pictures_per_second"] = rate_of(self.finished)
        return found

    def embedding(self, row: int) -> Float[Tensor, " d"]:
        """The embedding of one picture, by its place in the listing."""
        for number, part in enumerate(self.parts):
            if row < len(part.table):
                return torch.from_numpy(self.store.read(self.content[number])[0][row].copy())
            row -= len(part.table)
        raise IndexError(row)

    def classes(self, name: str) -> tuple[Float[Tensor, "classes d"], float]:
        """Class embeddings of the prompt set `name` and the model's scale."""
        found = [self.store.read_texts(chunk) for chunk in text_chunks(self.prompts[name])]
        return torch.cat([torch.from_numpy(classes) for classes, _ in found]), found[0][1]


def rate_of(finished: Iterable[tuple[float, int]]) -> float:
    """Pictures a second, of the times when some were done and how many.

    The slope of the pictures done against time, by least squares: what several actors work at when
    the first is done counts for what it is. Two times or more must differ.
    """
    times, counts = zip(*sorted(finished), strict=True)
    return linear_regression(times, list(itertools.accumulate(counts))).slope


def text_chunks(prompts: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Classes in groups of about TEXTS_PER_PIECE prompts."""
    at_once = max(1, TEXTS_PER_PIECE // max(map(len, prompts)))
    return [[*map(list, prompts[i : i + at_once])] for i in range(0, len(prompts), at_once)]
