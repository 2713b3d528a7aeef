"""A training that is stopped is asked for a checkpoint although it has its OUT for itself."""

import threading
import time
from pathlib import Path

import pytest

from hw2.bucket.out import joined, mirrored
from hw2.distributed.asking import LOOK_SECONDS, answering, asking
from hw2.stopping import ANSWERED, WANTED, WANTS, Asked, content
from tests.buckets import BucketServer
from tests.waiting import wait_for

pytest_plugins = ["tests.bucket_fixtures"]


def test_worker_0_hears_what_the_job_is_asked_and_the_job_what_is_kept(
    ray_session: None, bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    uri = bucket_server.uri("asked")
    with mirrored(uri) as mine, joined(mine.address) as other:
        mine.take_over()
        other.join_beside()
        asked = Asked(other.folder)
        with asking(mine), answering(other):
            time.sleep(2 * LOOK_SECONDS)
            assert not asked()  # nobody wants one
            (mine.folder / WANTED).write_bytes(WANTS)
            wait_for(asked, 10)
            (other.folder / "kept").write_text("a checkpoint")
            assert "kept" not in bucket_server.names("asked")
            assert content(mine.folder / WANTED) == WANTS  # it is not told before it is there
            asked.answer()
            wait_for(lambda: content(mine.folder / WANTED) != WANTS, 10)
            assert "kept" in bucket_server.names("asked")


def test_without_a_bucket_the_folder_is_enough(tmp_path: Path) -> None:
    with asking(None):
        (tmp_path / WANTED).write_bytes(WANTS)
    assert Asked(tmp_path)()


def test_a_ray_that_does_not_answer_is_told_once_and_holds_nobody_up(
    bucket_server: BucketServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def away(key: bytes) -> bool:
        raise ConnectionError("no head")

    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_exists", away)
    with mirrored(bucket_server.uri("away")) as mine:
        mine.take_over()
        with answering(mine):
            time.sleep(3 * LOOK_SECONDS)
    said = "no checkpoint is saved first if this is stopped: ConnectionError: no head"
    assert capsys.readouterr().err == f"warning: {said}\n"


def test_a_checkpoint_that_comes_too_late_is_lost_without_a_word(
    bucket_server: BucketServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_exists", lambda key: False)
    with mirrored(bucket_server.uri("late")) as mine:
        mine.take_over()
        with joined(mine.address, writes=True) as other:
            mine.take_over()  # as the job does that waits no longer
            other.stop()
            (other.folder / "late").write_text("a checkpoint")
            with answering(other):
                (other.folder / WANTED).write_bytes(ANSWERED)
                time.sleep(3 * LOOK_SECONDS)
            assert "late" not in bucket_server.names("late")
    assert "no checkpoint" not in capsys.readouterr().err


def test_what_ray_says_at_its_end_is_not_told(
    bucket_server: BucketServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    looking, ended = threading.Event(), threading.Event()

    def slow(key: bytes) -> bool:
        looking.set()
        ended.wait(10)
        raise ConnectionError("no head")

    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_exists", slow)
    with mirrored(bucket_server.uri("ends")) as mine:
        mine.take_over()
        with answering(mine):
            assert looking.wait(10)
        ended.set()
        wait_for(lambda: all(of.name != "asking" for of in threading.enumerate()), 10)
    assert capsys.readouterr().err == ""
