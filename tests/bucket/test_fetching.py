"""Copies of files in a bucket: of one version, in a cache that may be of no use."""

import re
from pathlib import Path

import pytest

from hw2.bucket.fetching import fetch_file, fetch_folder
from hw2.bucket.storage import Bucket
from hw2.errors import CheckpointError
from tests.buckets import BucketServer

pytest_plugins = ["tests.bucket_fixtures"]
ANY = re.compile(".+")


@pytest.fixture
def uri(tmp_path: Path, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with two files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "made").mkdir()
    for name in ("a", "b"):
        (tmp_path / "made" / name).write_text(name)
    return bucket_server.upload(tmp_path / "made", "made")


@pytest.mark.parametrize("change", ["gone", "another", "one more"])
def test_a_folder_that_changes_meanwhile(
    change: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Bucket.get

    def changing(self: Bucket, name: str, path: Path) -> None:
        get(self, name, path)
        if change == "gone":
            self.delete("b")
        else:
            self.write_text("a" if change == "another" else "c", "more")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "get", changing)
        told = "^model=s3://results/made: changes while it is fetched: try again once"
        with pytest.raises(CheckpointError, match=told):
            fetch_folder(uri, "model", ANY, "files")
    if change != "gone":
        found = fetch_folder(uri, "model", ANY, "files")
        assert (found / "b").read_text() == "b"
        assert (found / ("a" if change == "another" else "c")).read_text() == "more"


@pytest.mark.parametrize("place", ["/proc/nothing", "a file"])
def test_a_cache_that_cannot_be_made(
    place: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    for fetch in (
        lambda: fetch_file(uri, "model", "a"),
        lambda: fetch_folder(uri, "model", ANY, "files"),
    ):
        with pytest.raises(CheckpointError, match=r"cannot be kept in .*XDG_CACHE_HOME") as caught:
            fetch()
        assert "\n" not in str(caught.value)
