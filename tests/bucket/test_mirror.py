"""OUT in a bucket: what a kill leaves is never taken for whole, and one run alone writes there."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs

from hw2.bucket.mirror import Mirror
from hw2.bucket.out import joined, mirrored
from hw2.bucket.out_files import OutFiles
from hw2.bucket.owner import TakenOver
from hw2.bucket.storage import Bucket, Stamp
from hw2.checkpoint import CheckpointStore
from hw2.distributed.session import clear_ray_storage, ray_storage
from hw2.distributed.train_worker import _folder
from hw2.errors import StorageError
from hw2.gradients import Place
from hw2.runlog.entries import Entry
from hw2.runlog.tracker import Tracker
from tests.buckets import BucketServer
from tests.waiting import wait_for

pytest_plugins = ["tests.bucket_fixtures"]


@pytest.fixture
def uri(
    bucket_server: BucketServer,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return bucket_server.uri(f"outs/{request.node.name}")


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is deleted from buckets, in this order."""
    names: list[str] = []
    delete = Bucket.delete
    monkeypatch.setattr(Bucket, "delete", lambda of, name: (names.append(name), delete(of, name)))
    return names


def save(mirror: Mirror, step: int) -> None:
    """A checkpoint of the step."""
    store = CheckpointStore(mirror.folder / "checkpoints")
    store.save(step, {"weight": torch.tensor([float(step)])}, {}, None)


def write(mirror: Mirror, *lines: str) -> Path:
    """Add lines to the journal."""
    journal = mirror.folder / "journal.jsonl"
    with journal.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return journal


def test_an_empty_folder_goes_on_from_the_bucket(uri: str) -> None:
    with mirrored(uri) as first:
        first.take_over()
        for step in (5, 10, 15):
            save(first, step)
            first.push()
        (first.folder / "figures").mkdir()
        (first.folder / "figures" / "x.png").write_bytes(b"picture")
        (first.folder / ".passing").write_bytes(b"")
        before = first.folder
    assert not before.exists()  # pushed and cleaned up at the end
    with mirrored(uri) as second:
        assert second.pull_settings()
        second.take_over()
        files = [path for path in second.folder.rglob("*") if path.is_file()]
        assert [path.name for path in files] == ["x.png"]  # checkpoints are for those who train
        assert second.pull_checkpoint() == "checkpoints/step_00000015"
        newest = CheckpointStore(second.folder / "checkpoints").latest()
        assert newest is not None
        assert newest.tensors["weight"].item() == 15
        write(second, "a row")
        second.push()  # which takes nothing away that was not removed here
        assert "checkpoints/step_00000010/state.safetensors" in Bucket(uri).names()
        save(second, 20)
        second.push()
        names = {name.partition("/step_")[2] for name in Bucket(uri).names()} - {""}
        assert names == {
            f"{step:08d}/{file}"
            for step in (15, 20)
            for file in ("manifest.json", "state.safetensors")
        }  # what was pruned is gone there too, also what was not copied here


def test_a_killed_push_is_never_a_whole_checkpoint(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    put = Bucket.put

    def dying(self: Bucket, name: str, path: Path, size: int) -> None:
        if name == "checkpoints/step_00000010/manifest.json":
            raise Killed
        put(self, name, path, size)

    with mirrored(uri) as first:
        first.take_over()
        save(first, 5)
        first.push()
        monkeypatch.setattr(Bucket, "put", dying)
        save(first, 10)
        journal = write(first, "a row")
        with pytest.raises(Killed):
            first.push()
        assert first.kept(journal) == 0
        monkeypatch.setattr(Bucket, "put", put)
        assert "checkpoints/step_00000010/state.safetensors" in Bucket(uri).names()
        assert Bucket(uri).read_text("journal.jsonl") == "a row\n"  # of what the checkpoint ends
        with mirrored(uri) as second:
            second.take_over()
            assert second.pull_checkpoint() == "checkpoints/step_00000005"
        first._writes = False  # it is dead


def test_a_torn_checkpoint_of_the_bucket_is_passed_over(uri: str) -> None:
    with mirrored(uri) as first:
        first.take_over()
        for step in (5, 10):
            save(first, step)
    Bucket(uri).write_text("checkpoints/step_00000010/state.safetensors", "torn")
    with mirrored(uri) as second:
        second.take_over()
        assert second.pull_checkpoint() == "checkpoints/step_00000005"


def test_of_the_processes_of_a_run_the_last_that_joined_writes(uri: str) -> None:
    """A worker that was taken for dead, and its successor."""
    with mirrored(uri) as driver:
        driver.take_over()
        with driver.lent(), joined(driver.address, writes=True) as before:
            write(before, "row 1")
            before.push()
            with joined(driver.address, writes=True) as after:
                write(before, "row 2, late")
                with pytest.raises(TakenOver):
                    before.push()
                before._writes = False
                write(after, "row 2")
        assert Bucket(uri).read_text("journal.jsonl") == "row 1\nrow 2\n"


def test_a_checkpoint_waits_for_its_rows(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = OutFiles.all

    def meanwhile(files: OutFiles) -> dict[str, Stamp]:
        """Another thread trains on after the journal was measured."""
        monkeypatch.setattr(OutFiles, "all", walk)
        write(mirror, "row 2")
        save(mirror, 2)
        return walk(files)

    with mirrored(uri) as mirror:
        mirror.take_over()
        write(mirror, "row 1")
        monkeypatch.setattr(OutFiles, "all", meanwhile)
        for journal, whole in (("row 1\n", False), ("row 1\nrow 2\n", True)):
            mirror.push()
            assert Bucket(uri).read_text("journal.jsonl") == journal
            assert ("checkpoints/step_00000002/manifest.json" in Bucket(uri).names()) == whole


@pytest.mark.parametrize("backwards", [False, True])
def test_what_goes_first_does_not_hang_on_how_a_folder_is_listed(
    uri: str, backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, put, went = OutFiles.all, Bucket.put, []

    def ordered(files: OutFiles) -> dict[str, Stamp]:
        return dict(sorted(listed(files).items(), reverse=backwards))

    def noted(self: Bucket, name: str, path: Path, size: int) -> None:
        went.append(name.rpartition("/")[2])
        put(self, name, path, size)

    monkeypatch.setattr(OutFiles, "all", ordered)
    monkeypatch.setattr(Bucket, "put", noted)
    with mirrored(uri) as mirror:
        mirror.take_over()
        (mirror.folder / "config.yaml").write_text("seed: 1\n")
        write(mirror, "a row")
        save(mirror, 5)
        mirror.push()
    assert went == ["config.yaml", "state.safetensors", "journal.jsonl", "manifest.json"]


def test_a_bucket_that_lost_its_owner_is_not_written_to(uri: str) -> None:
    with mirrored(uri) as mirror:
        mirror.take_over()
        write(mirror, "a row")
        Bucket(uri).delete(".owner")
        with pytest.raises(TakenOver):
            mirror.push()
        mirror._writes = False


def test_rows_count_as_kept_after_a_last_check_that_failed_once(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text, reads = Bucket.read_text, 0

    def failing(self: Bucket, name: str) -> str | None:
        nonlocal reads
        reads += name == ".owner"
        if reads == 2:  # all is in the bucket by then
            reads += 1
            raise OSError("connection reset")
        return read_text(self, name)

    with mirrored(uri) as mirror:
        mirror.take_over()
        journal = write(mirror, "the last row")
        monkeypatch.setattr(Bucket, "read_text", failing)
        mirror.push()
        assert reads > 2
        assert mirror.kept(journal) == journal.stat().st_size
        before = reads
        mirror.push()
        assert reads == before  # nothing is new: the bucket is not asked


def test_what_changed_since_is_pushed_and_not_overwritten(uri: str) -> None:
    """Also where the size stays: metrics of another digit are other metrics."""
    with mirrored(uri) as mirror:
        mirror.take_over()
        file = mirror.folder / "metrics.json"
        for text in ("0.8", "0.9"):
            file.write_text(text)
            mirror.push()
            assert Bucket(uri).read_text("metrics.json") == text
        Bucket(uri).write_text("metrics.json", "0.7")  # by another process of the run
        mirror.pull()
        assert file.read_text() == "0.7"
        Bucket(uri).write_text("metrics.json", "0.65")
        file.write_text("1.0")
        mirror.pull()
        assert file.read_text() == "1.0"
        for passing in ("ray/tune", "x.lock", "x.tmp", ".hidden/x"):
            (mirror.folder / passing).parent.mkdir(exist_ok=True)
            (mirror.folder / passing).write_text("passing")
        mirror.push()
        assert list(Bucket(uri).names()) == ["metrics.json"]
        assert list(OutFiles(mirror.folder).all()) == ["metrics.json"]


def test_what_is_wanted_is_copied_once_and_nothing_else(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, trials = {"config.yaml", "inputs.json"}, {"w=1/scores.json", "w=1.5/scores.json"}
    for name in (*settings, *trials, "ray/tune/state"):
        Bucket(uri).write_text(name, "{}")
    get, got = Bucket.get, list[str]()
    monkeypatch.setattr(
        Bucket, "get", lambda of, name, path: (got.append(name), get(of, name, path))
    )
    with mirrored(uri) as mirror:
        assert mirror.pull_settings()
        assert set(OutFiles(mirror.folder).all()) == settings
        mirror.pull_below("w=1")
        assert set(OutFiles(mirror.folder).all()) == {*settings, "w=1/scores.json"}
        for _ in range(2):
            mirror.pull()
            assert not (mirror.folder / "ray").exists()
    assert sorted(got) == sorted(settings | trials)


def test_what_ray_keeps_for_itself_goes_and_nothing_else(uri: str) -> None:
    Bucket(uri).write_text("metrics.json", "{}")
    with mirrored(uri) as mirror:
        clear_ray_storage(mirror.folder, mirror)  # Ray has kept nothing yet
        where = ray_storage(mirror.folder, mirror)
        kept = f"{where['storage_path']}/tune/state"
        with where["storage_filesystem"].open_output_stream(kept) as file:
            file.write(b"{}")
        clear_ray_storage(mirror.folder, mirror)
        assert mirror.bucket.files.get_file_info(kept).type is fs.FileType.NotFound
        assert list(Bucket(uri).names()) == ["metrics.json"]


def test_a_checkpoint_goes_with_its_manifest_first(uri: str, gone: list[str]) -> None:
    """A kill in between leaves no manifest of weights that are gone."""
    with mirrored(uri) as mirror:
        mirror.take_over()
        for step in (5, 10, 15):
            save(mirror, step)
            mirror.push()
        folder = "checkpoints/step_00000005"
        assert gone == [f"{folder}/manifest.json", f"{folder}/state.safetensors"]


def test_what_is_set_aside_keeps_whose_it_is_to_the_last(uri: str, gone: list[str]) -> None:
    names = ("config.yaml", "a.json", "figures/x.png")
    for number in (1, 2):
        for name in names:
            Bucket(uri).write_text(name, f"{name} {number}")
        with mirrored(uri) as mirror:
            mirror.pull_settings()
            mirror.set_aside()
            assert not Bucket(uri).names() and not list(mirror.folder.iterdir())
        path, _, options = uri.partition("?")
        aside = Bucket(f"{path}.old-{number}?{options}")
        assert [aside.read_text(name) for name in names] == [f"{name} {number}" for name in names]
    assert gone == ["a.json", "figures/x.png", "config.yaml"] * 2


@contextmanager
def two_starts(uri: str) -> Iterator[tuple[Mirror, Mirror]]:
    """An earlier start, which has brought a checkpoint to the bucket, and a later one."""
    with mirrored(uri) as first, mirrored(uri) as second:
        first.take_over()
        save(first, 5)
        first.push()
        yield first, second
        assert second.pull_checkpoint() is None  # the bucket was set aside: it is of other settings
        first._writes = False


@pytest.fixture
def at_the_next(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something before, or after, the next call of a bucket's method."""

    def at(
        name: str,
        *,
        before: Callable[[], object] = lambda: None,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        method = getattr(Bucket, name)

        def meanwhile(*args: Any) -> None:
            monkeypatch.setattr(Bucket, name, method)
            before()
            method(*args)
            after()

        monkeypatch.setattr(Bucket, name, meanwhile)

    return at


def test_an_earlier_start_is_shut_out_before_its_bucket_is_set_aside(
    uri: str, at_the_next: Callable[..., None]
) -> None:
    with two_starts(uri) as (first, second):

        def go_on() -> None:
            save(first, 10)
            with pytest.raises(TakenOver):
                first.push()

        at_the_next("delete", before=go_on)
        second.pull_settings()
        second.set_aside()
        second.take_over()


def test_a_push_under_way_leaves_no_checkpoint_to_who_sets_the_bucket_aside(
    uri: str, at_the_next: Callable[..., None]
) -> None:
    with two_starts(uri) as (first, second):

        def begin_anew() -> None:  # what is put then had been read for minutes
            second.set_aside()
            second.take_over()

        save(first, 10)
        at_the_next("put", before=begin_anew)
        with pytest.raises(TakenOver):
            first.push()


def test_what_comes_while_a_bucket_is_set_aside_goes_there_too(
    uri: str, at_the_next: Callable[..., None]
) -> None:
    Bucket(uri).write_text("config.yaml", "seed: 1")
    at_the_next("delete", after=lambda: Bucket(uri).write_text("late.json", "late"))
    Bucket(uri).move_aside()
    assert not Bucket(uri).names()
    path, _, options = uri.partition("?")
    assert set(Bucket(f"{path}.old-1?{options}").names()) == {"config.yaml", "late.json"}


def test_rows_of_a_later_start_are_not_delivered_by_the_driver_before(uri: str) -> None:
    with mirrored(uri) as first:
        first.take_over()
        journal = write(first, "one")
        first.push()
        first._writes = False  # a worker writes, and the driver follows
        with mirrored(uri) as second:
            second.take_over()
            write(second, "two")
            second.push()
            with pytest.raises(TakenOver):
                first._follow()
            assert first.kept(journal) == 4


def test_rows_are_delivered_once_the_bucket_has_them(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    class Store:
        def __init__(self, *address: object) -> None: ...

        def rows(self, entries: list[Entry]) -> None:
            steps.extend(entry.step for entry in entries)

        def files(self, entries: list[Entry]) -> None: ...

    monkeypatch.setattr("hw2.runlog.tracker.Delivery", Store)
    with mirrored(uri) as mirror:
        mirror.take_over()
        with Tracker(mirror.folder, "run", "a store", owner=False, mirror=mirror) as tracker:
            tracker.log_row(1, {"loss": 1.0})
            mirror.push()
            wait_for(lambda: steps == [1])
            tracker.log_row(2, {"loss": 1.0})
            (rows, _) = tracker._couriers
            assert not rows.flush(0.3) and steps == [1]
            mirror.push()
            assert rows.flush(5.0) and steps == [1, 2]


def test_a_later_start_shuts_the_earlier_one_out(uri: str) -> None:
    with mirrored(uri) as first:
        first.take_over()
        journal = write(first, "one")
        first.push()
        assert first.kept(journal) == 4
        with mirrored(uri) as second:
            second.take_over()
            assert (second.folder / "journal.jsonl").read_text() == "one\n"
            write(first, "two")
            with pytest.raises(TakenOver, match="a later start of this job works there"):
                first.push()
            assert first.kept(journal) == 4  # "two" is not delivered
            assert Bucket(uri).read_text("journal.jsonl") == "one\n"
            with pytest.raises(TakenOver), joined(first.address, writes=True):
                pass
            write(second, "three")
            second.push()
        first._writes = False
    with mirrored(uri) as third:
        third.take_over()
        assert (third.folder / "journal.jsonl").read_text() == "one\nthree\n"


def test_what_a_worker_writes_comes_to_the_driver(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw2.bucket.mirror.FOLLOW_SECONDS", 0.1)
    with mirrored(uri) as driver:
        driver.take_over()
        journal = write(driver, "begun")
        held = journal.open("ab")
        with driver.lent(), joined(driver.address, writes=True) as worker:
            write(worker, "row 1")
            worker.push()
            wait_for(lambda: driver.kept(journal) == 12)
            assert journal.read_text() == "begun\nrow 1\n"
            write(worker, "row 2")
            (worker.folder / "final").write_text("weights")
        held.write(b"done\n")
        held.close()
        assert journal.read_text() == "begun\nrow 1\nrow 2\ndone\n"  # the file that was held open
        assert (driver.folder / "final").read_text() == "weights"
        driver.push()
        assert driver.kept(journal) == journal.stat().st_size
        Bucket(uri).write_text("journal.jsonl", f"another one{journal.read_text()}")
        with pytest.raises(StorageError, match="do not begin alike"):
            driver.pull()
        driver._writes = False


def test_workers_have_copies_and_the_first_brings_the_newest_checkpoint(uri: str) -> None:
    with mirrored(uri) as driver, ExitStack() as held:
        driver.take_over()
        save(driver, 5)
        write(driver, "begun")
        driver.push()
        held.enter_context(driver.lent())
        found = [_folder(driver.address, driver.folder, "", Place(rank), held) for rank in (0, 1)]
        folders = [folder for folder, _, _ in found]
        assert len({driver.folder, *folders}) == 3
        assert [newest for _, _, newest in found] == ["checkpoints/step_00000005", None]
        steps = [[path.name for path in one.glob("checkpoints/step_*")] for one in folders]
        assert steps == [["step_00000005"], []]  # the others copy the one that all agree on
        assert all((folder / "journal.jsonl").is_file() for folder in folders)
        for _, mirror, _ in found:
            (mirror.folder / "metrics.json").write_text("{}")
        found[1][1].push()
        assert "metrics.json" not in Bucket(uri).names()  # worker 0 alone writes
        found[0][1].push()
        assert "metrics.json" in Bucket(uri).names()


def test_who_has_lent_the_bucket_brings_nothing_there(uri: str) -> None:
    with mirrored(uri) as driver:
        driver.take_over()
        with driver.lent(), joined(driver.address, writes=True) as worker:
            write(worker, "row 1")
            worker.push()
            (driver.folder / "metrics.json").write_text("{}")
            driver.push()
            assert list(Bucket(uri).names()) == ["journal.jsonl"]
    assert "metrics.json" in Bucket(uri).names()


def test_the_driver_follows_on_when_the_bucket_is_back(
    uri: str,
    bucket_server: BucketServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("hw2.bucket.mirror.FOLLOW_SECONDS", 0.1)
    with mirrored(uri) as driver:
        driver.take_over()
        journal = write(driver, "begun")
        with driver.lent(), joined(driver.address, writes=True) as worker:
            bucket_server.stop()
            wait_for(lambda: " is away (" in caplog.text)
            bucket_server.start()
            write(worker, "row 1")
            worker.push()
            wait_for(lambda: driver.kept(journal) == 12)


def test_a_journal_that_is_ahead_of_the_bucket_s_stays_and_is_pushed(uri: str) -> None:
    """As that of a trial: who runs the sweep writes it, and fetches the trial's folder."""
    with mirrored(uri) as mirror:
        mirror.take_over()
        write(mirror, "1", "2")
        mirror.push()
        journal = write(mirror, "3")
        mirror.pull()
        assert journal.read_text() == "1\n2\n3\n" and mirror.kept(journal) == 4
        mirror._follow()
        assert mirror.kept(journal) == 4
        mirror.push()
        assert Bucket(uri).read_text("journal.jsonl") == "1\n2\n3\n"
        assert mirror.kept(journal) == 6


def test_folders_of_the_killed_are_removed(uri: str) -> None:
    with mirrored(uri) as one:
        left = shutil.copytree(one.folder.parent, one.folder.parent.with_name("killed"))
        with mirrored(uri) as other:
            assert one.folder.exists()
            assert other.folder.exists()
            assert not left.exists()


def test_results_that_cannot_be_pushed_stay(
    uri: str,
    bucket_server: BucketServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hw2.bucket.out.PATIENCE_SECONDS", 0.1)
    refused = pytest.raises(StorageError, match="no answer; what is not there is in ")
    with refused as told, mirrored(uri) as mirror:
        mirror.take_over()
        (mirror.folder / "metrics.json").write_text(json.dumps({"accuracy": 1.0}))
        bucket_server.stop()
    bucket_server.start()
    assert str(mirror.folder) in str(told.value)
    with mirrored(uri):
        assert (mirror.folder / "metrics.json").exists()


@pytest.mark.parametrize("lent", [False, True])
def test_a_bucket_that_is_away_hides_no_error(
    uri: str, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch, lent: bool
) -> None:
    for module in ("out", "mirror"):
        monkeypatch.setattr(f"hw2.bucket.{module}.ANSWER_SECONDS", 0.1)
    with pytest.raises(ZeroDivisionError), mirrored(uri) as mirror:
        mirror.take_over()
        with mirror.lent() if lent else nullcontext():
            (mirror.folder / "metrics.json").write_text("{}")
            bucket_server.stop()
            raise ZeroDivisionError
    bucket_server.start()


def test_a_worker_that_ends_while_the_bucket_is_away_ends_well(
    uri: str, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw2.bucket.out.ANSWER_SECONDS", 0.1)
    with mirrored(uri) as driver:
        driver.take_over()
        with driver.lent():
            with joined(driver.address, writes=True) as worker:
                write(worker, "row 1")
                bucket_server.stop()
            bucket_server.start()
