"""What every job does around its work: claim a folder, open a run."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hw2.config import JobConfig
from hw2.data.files import inside, sha256_of
from hw2.distributed.devices import number_format
from hw2.distributed.reach import joining
from hw2.distributed.sight import refuse_missing, refuse_unseen
from hw2.errors import ConfigError
from hw2.locate import Found
from hw2.lock import JOB_LOCK, NODE_SECONDS, only_writer
from hw2.places import uri_of
from hw2.results import claim_out
from hw2.runlog.addresses import resolve_uri, run_page, ui_command
from hw2.runlog.environment import code_hash
from hw2.runlog.tracker import Tracker
from hw2.settings.training import TrainingJobConfig
from hw2.tracking import DATA_HASH, refuse_silent

if TYPE_CHECKING:
    from hw2.bucket.mirror import Mirror
    from hw2.data.tables import BadRow


@runtime_checkable
class ReadPictures(Protocol):
    """What a job has read: the hash of its content, and what was left out."""

    @property
    def content_hash(self) -> str: ...

    @property
    def bad(self) -> "tuple[BadRow, ...]": ...


AUTO_PRECISION = "precision.auto"  # the tag with the meaning of "auto"
# They move where and how fast a job runs, not what it makes (pictures count by their hash, and
# scores are taken anew each time).
NOT_RESULTS = (
    *("scaling", "data.root", "data.cache", "judge"),
    *("train.log_every", "train.checkpoint_every", "train.keep_last"),
)


@contextmanager
def job_run(
    config: JobConfig,
    experiment: str,
    *,
    splits: Mapping[str, ReadPictures] | None = None,
    files: Mapping[str, Path] | None = None,
    hashes: Mapping[str, str] | None = None,
    anew: Mapping[str, str] | None = None,
    not_results: Collection[str] = (),
    shared: Collection[Path] = (),
) -> Iterator[tuple[Path, Tracker]]:
    """The job's folder and MLflow run, finished with the block; prints how to look at it.

    `splits` are the pictures it reads, by name: their hashes become tags, their bad rows a table.
    A folder that was begun with other train pictures, other `files` or other `hashes` of inputs is
    refused like one of other settings, and so are `files` that lie in it. `anew` are hashes of what
    each start reads anew, such as the judge that scores: they become tags, and others are not
    refused. The keys `not_results` do not decide what the folder holds.
    The folder is locked until the end: a second job is refused (BusyError) and moves none away.
    On a cluster all nodes must have `shared` and `files`, and an `out` that is in no bucket.
    """
    splits, files = splits or {}, files or {}
    for name, path in files.items():
        if not uri_of(config.out) and inside(path, config.out):
            raise ConfigError(
                f"{name}={path} lies in out={config.out}, where results go and from where "
                "--overwrite true moves it away: choose another --out"
            )
    inputs = {name: sha256_of(path) for name, path in files.items()}
    inputs |= hashes or {}
    if "train" in splits:
        inputs["data.root"] = splits["train"].content_hash
    ignore = (*NOT_RESULTS, *not_results)
    tags = {f"hash.{name}": found for name, found in {**inputs, **(anew or {})}.items()}
    tags |= {f"{DATA_HASH}{name}": split.content_hash for name, split in splits.items()}
    tags |= {"code_hash": code_hash(), **_meaning_of_auto(config)}
    if config.name:
        tags["mlflow.runName"] = config.name  # renames a run that was begun before
    refuse_silent(resolve_uri())
    missing = [path for path in files.values() if not isinstance(path, Found)]
    if isinstance(config, TrainingJobConfig):
        missing.append(config.data.root)
    refuse_missing(*missing)
    for path in shared:
        refuse_unseen(path, or_uri=False)
    patience = NODE_SECONDS if joining() else 0.0
    with _mirror(config.out) as mirror, ExitStack() as held:

        def hold(out: Path) -> None:
            held.enter_context(only_writer(out, patience, JOB_LOCK))

        out = claim_out(config, ignore, inputs, mirror, hold)
        if mirror:
            mirror.start()
        tracker = Tracker.start(
            out,
            experiment=experiment,
            run_name=config.name or out.name,
            config=config.shown(),
            tags=tags,
            mirror=mirror,
        )
        with tracker:
            tracker.log_file(out / "config.yaml")
            bad = [{"split": k, **vars(row)} for k, split in splits.items() for row in split.bad]
            tracker.log_table("bad_pictures", bad)
            if bad:
                table = out / "tables" / "bad_pictures.csv"
                print(f"left out: {len(bad)} rows or pictures that are bad, listed in {table}")
            yield out, tracker
    if mirror:
        print(f"results: {mirror.bucket.shown}")
    shown = ui_command(tracker.tracking_uri)
    print(f"MLflow: {run_page(shown, tracker.run_id) if shown.startswith('http') else shown}")


def _meaning_of_auto(config: JobConfig) -> dict[str, str]:
    """The number format that "auto" is where the job computes; of a cluster's nodes nothing."""
    scaling = getattr(config, "scaling", None)
    found = "auto" if scaling is None else number_format("auto", scaling)
    return {} if found == "auto" else {AUTO_PRECISION: found}


@contextmanager
def _mirror(out: Path) -> "Iterator[Mirror | None]":
    """What brings OUT to its bucket; None for a folder, which all nodes of a cluster must see."""
    if uri := uri_of(out):
        from hw2.bucket.out import mirrored

        with mirrored(uri) as mirror:
            yield mirror
    else:
        refuse_unseen(out)
        yield None
