"""A training that is stopped is asked for a checkpoint although it has its OUT for itself."""

import time
from pathlib import Path

import pytest

from hw2.bucket.out import joined, mirrored
from hw2.distributed.asking import LOOK_SECONDS, answering, asking
from hw2.stopping import WANTED, WANTS, Asked, content
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
