"""A training that is stopped is asked for a checkpoint although it has its OUT for itself."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.experimental.internal_kv import _internal_kv_list

from hw2.bucket.mirror import Mirror
from hw2.bucket.out import joined, mirrored
from hw2.distributed.asking import answering, asking, hears_no_more
from hw2.stopping import ANSWERED, HEARS, LOOK_SECONDS, WANTED, WANTS, Asked, content
from tests.buckets import BucketServer
from tests.waiting import wait_for

pytest_plugins = ["tests.bucket_fixtures"]
IS_PUT = "ray.experimental.internal_kv._internal_kv_exists"
PUT = "ray.experimental.internal_kv._internal_kv_put"


@pytest.fixture
def mine(
    bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mirror]:
    """The job's copy of an OUT in the bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with mirrored(bucket_server.uri(tmp_path.name)) as mirror:
        mirror.take_over()
        yield mirror


def test_worker_0_hears_what_the_job_is_asked_and_the_job_what_is_kept(
    ray_session: None, mine: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    with joined(mine.address) as other:
        other.join_beside()
        push = other.push
        monkeypatch.setattr(other, "push", lambda *given: (time.sleep(1), push(*given)))
        asked = Asked(other.folder)
        (mine.folder / WANTED).touch()
        with asking(mine), answering(other):
            time.sleep(2 * LOOK_SECONDS)
            assert not content(mine.folder / WANTED)  # there is nobody to be asked yet
            assert not asked()  # nobody wants one
            wait_for(lambda: content(mine.folder / WANTED) == HEARS, 10)
            (mine.folder / WANTED).write_bytes(WANTS)
            wait_for(asked, 10)
            (other.folder / "kept").write_text("a checkpoint")
            assert "kept" not in mine.bucket.names()
            assert content(mine.folder / WANTED) == WANTS  # it is not told before it is there
            asked.answer()
            wait_for(lambda: content(mine.folder / WANTED) != WANTS, 10)
            assert "kept" in mine.bucket.names()
    assert _internal_kv_list("hw2/") == []  # nothing is left at the head


def test_once_the_last_checkpoint_is_saved_a_stop_waits_for_nobody(
    ray_session: None, mine: Mirror
) -> None:
    with joined(mine.address) as other:
        other.join_beside()
        asked = Asked(other.folder)
        (mine.folder / WANTED).touch()
        with asking(mine), answering(other):
            asked()
            wait_for(lambda: content(mine.folder / WANTED) == HEARS, 10)
            asked.answer()  # unasked, as after the last step
            wait_for(lambda: content(mine.folder / WANTED) == ANSWERED, 10)


def test_nobody_is_asked_between_two_workers(ray_session: None, mine: Mirror) -> None:
    file, run = mine.folder / WANTED, mine.address.run
    with joined(mine.address) as other:
        other.join_beside()
        file.touch()
        with asking(mine):
            for _ in range(2):  # the second begins after the first was ended
                with answering(other):
                    Asked(other.folder)()
                    wait_for(lambda: content(file) == HEARS, 10)
                    hears_no_more(mine.folder, run)
                    time.sleep(3 * LOOK_SECONDS)
                    assert not content(file)


def test_without_a_bucket_the_folder_is_enough(tmp_path: Path) -> None:
    with asking(None):
        (tmp_path / WANTED).write_bytes(WANTS)
    assert Asked(tmp_path)()


def test_a_ray_that_does_not_answer_is_told_once_and_asked_again(
    mine: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(key: bytes) -> bool:
        raise ConnectionError("no head")

    monkeypatch.setattr(IS_PUT, away)
    monkeypatch.setattr(PUT, lambda key, value: None)
    with answering(mine):
        asked = Asked(mine.folder)
        asked()
        time.sleep(3 * LOOK_SECONDS)
        monkeypatch.setattr(IS_PUT, lambda key: True)
        wait_for(asked, 10)
    said = "a stop saves no checkpoint first until this is over: ConnectionError: no head"
    assert capsys.readouterr().err == f"warning: {said}\n"


def test_a_checkpoint_that_comes_too_late_is_lost_without_a_word(
    mine: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(IS_PUT, lambda key: False)
    with joined(mine.address, writes=True) as other:
        mine.take_over()  # as the job does that waits no longer
        other.stop()
        (other.folder / "late").write_text("a checkpoint")
        with answering(other):
            (other.folder / WANTED).write_bytes(ANSWERED)
            time.sleep(3 * LOOK_SECONDS)
        assert "late" not in mine.bucket.names()
    assert "no checkpoint" not in capsys.readouterr().err


def test_what_ray_says_at_its_end_is_not_told(
    mine: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looking, ended = threading.Event(), threading.Event()

    def slow(key: bytes) -> bool:
        looking.set()
        ended.wait(10)
        raise ConnectionError("no head")

    monkeypatch.setattr(IS_PUT, slow)
    monkeypatch.setattr(PUT, lambda key, value: None)
    with answering(mine):
        Asked(mine.folder)()
        assert looking.wait(10)
    ended.set()
    wait_for(lambda: all(of.name != "asking" for of in threading.enumerate()), 10)
    assert capsys.readouterr().err == ""
