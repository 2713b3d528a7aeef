"""A bucket of a real server: what is read and written, what is refused and in which words."""

import errno
import functools
import pickle
import re
import socket
from pathlib import Path

import pytest

from hw2.bucket.storage import Bucket, Stamp, _is_final, in_words
from hw2.errors import CheckpointError, ConfigError, StorageError
from hw2.locate import FINAL, find_folder, find_model
from tests.buckets import BucketServer

pytest_plugins = ["tests.bucket_fixtures"]


def test_files_by_name(bucket_server: BucketServer, tmp_path: Path) -> None:
    bucket, file = Bucket(bucket_server.uri("files/a%20b")), tmp_path / "file"
    file.write_bytes(b"0123456789")
    assert bucket.path() == "results/files/a b"
    assert bucket.names() == {}
    bucket.put("deep/er/x.bin", file, 4)
    bucket.write_text(".hidden", "")
    for hostile in ("../out", "deep/../../../out", "turns \u202e around"):
        bucket.write_text(hostile, "")
    assert {name: stamp.size for name, stamp in bucket.names().items()} == {"deep/er/x.bin": 4}
    name, stamp = bucket.find("none", "deep/er/x.bin", ".hidden")
    assert (name, stamp) == ("deep/er/x.bin", bucket.names()[name])
    assert bucket.find("none", "deep") == ("", None)
    bucket.get("deep/er/x.bin", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123"
    assert (bucket.read_text(".hidden"), bucket.read_text("none")) == ("", None)
    bucket.delete("deep/er/x.bin")
    bucket.delete("deep/er/x.bin")
    assert bucket.names() == {}
    assert pickle.loads(pickle.dumps(bucket.files)) == bucket.files  # Ray Train sends it around


def test_what_is_refused_at_once(bucket_server: BucketServer) -> None:
    Bucket(bucket_server.uri("nothing/there/yet")).refuse_unusable()
    with pytest.raises(StorageError, match=r"s3://none/x cannot be used .*no such bucket"):
        Bucket(bucket_server.uri("x", bucket="none")).refuse_unusable()
    with pytest.raises(ConfigError, match="unknown option colour: there are region, "):
        Bucket("s3://results/x?colour=red").refuse_unusable()
    with pytest.raises(ConfigError, match="leave the keys out") as refused:
        Bucket("s3://AKIA123:hunter2@results/x")
    assert "hunter2" not in str(refused.value)
    bucket_server.ask_for_keys(True)
    try:
        with pytest.raises(StorageError, match="it refuses the credentials: give") as refused:
            Bucket(bucket_server.uri("x")).refuse_unusable()
        assert "testing" not in str(refused.value)
    finally:
        bucket_server.ask_for_keys(False)


def test_what_waiting_cannot_mend_is_asked_once(bucket_server: BucketServer) -> None:
    asked: list[str] = []

    def ask() -> None:
        asked.append("once")
        raise OSError("refused for good")

    with pytest.raises(StorageError, match="refused for good"):
        Bucket(bucket_server.uri("x")).patiently(ask, 5.0, give_up=lambda why: "good" in why)
    assert asked == ["once"]

    def fill() -> None:
        asked.append("twice")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Bucket(bucket_server.uri("x")).patiently(fill, 5.0)
    assert asked == ["once", "twice"]


def test_what_a_bucket_says_in_words() -> None:
    refused, silent = (
        "AWS Error ACCESS_DENIED during PutObject",
        "curlCode: 28, Timeout was reached",
    )
    assert in_words(OSError(refused)).startswith("it refuses the credentials: give those of")
    assert in_words(OSError(silent)) == "no answer"
    assert (_is_final(refused), _is_final("NO_SUCH_BUCKET"), _is_final(silent)) == (
        True,
        True,
        False,
    )
    other = in_words(OSError("no way to\nhttps://me:hunter2@host" + 999 * "x"))
    assert other.startswith("no way to ") and len(other) == 300 and "hunter2" not in other
    assert in_words(TimeoutError()) == "TimeoutError"


def test_a_silent_server_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"endpoint_override=127.0.0.1:{silent.getsockname()[1]}&scheme=http"
        with pytest.raises(StorageError, match=r"s3://results/x .* within 0\.5 s: no answer"):
            Bucket(f"s3://results/x?{address}").refuse_unusable(0.5)


def test_a_bucket_that_comes_back(
    bucket_server: BucketServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket = Bucket(bucket_server.uri("back"))
    bucket.write_text("x", "x")

    come_back = functools.cache(bucket_server.start)

    def names() -> dict[str, Stamp]:
        if caplog.records:
            come_back()
        return bucket.names()

    bucket_server.stop()
    try:
        with pytest.raises(StorageError, match=r"cannot be used within 0\.1 s: no answer"):
            bucket.patiently(bucket.names, 0.1)
        assert bucket.patiently(names, 60.0).keys() == {"x"}
    finally:
        come_back()
    away, back = (record.getMessage() for record in caplog.records)
    assert away == "s3://results/back cannot be used (no answer): trying again for 60 s"
    assert back == "s3://results/back is back"


def test_the_files_of_a_folder_that_are_wanted(
    bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri, wanted = bucket_server.uri("folder"), re.compile(r"([a-z]/)?[a-z]\.txt")
    bucket = Bucket(uri)
    for name in ("a.txt", "b/c.txt", "b/c.bin", "b/d/e.txt", ".f/g.txt"):
        bucket.write_text(name, f"of {name}")

    def read(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_text() for path in files}

    first = find_folder(uri, "model", wanted, "texts")
    assert read(first) == {"a.txt": "of a.txt", "b/c.txt": "of b/c.txt"}
    (first / "a.txt").write_text("fetched once")
    (first / "b/c.txt").unlink()  # by somebody who made room
    again = find_folder(Path(uri), "model", wanted, "texts")  # pathlib folds its //
    assert again == first
    assert read(again) == {"a.txt": "fetched once", "b/c.txt": "of b/c.txt"}
    bucket.write_text("b/c.txt", "of more steps")
    second = find_folder(uri, "model", wanted, "texts")
    assert read(second) == {"a.txt": "of a.txt", "b/c.txt": "of more steps"}
    assert read(first)["b/c.txt"] == "of b/c.txt"  # which may be in use
    with pytest.raises(
        CheckpointError, match=r"^model=s3://results/folder/b/d: has no texts: give"
    ):
        find_folder(bucket_server.uri("folder/b/d"), "model", re.compile("x"), "texts")
    with pytest.raises(StorageError, match="no such bucket"):
        find_folder(bucket_server.uri("folder", bucket="none"), "model", wanted, "texts")
    assert find_folder("here", "model", wanted, "texts") == Path("here")


def test_weights_in_a_bucket(
    bucket_server: BucketServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    bucket = Bucket(bucket_server.uri("trained"))
    bucket.write_text(FINAL, "weights")
    for uri in (bucket_server.uri("trained"), bucket_server.uri(f"trained/{FINAL}")):
        path = find_model(uri)
        assert (path.name, path.read_text()) == (FINAL, "weights")
        fetched = path.stat().st_ino
        assert find_model(uri).stat().st_ino == fetched  # not again
    checkpoint = "checkpoints/step_00000005"
    bucket.write_text(f"{checkpoint}/state.safetensors", "those of step 5")
    found = find_model(bucket_server.uri(f"trained/{checkpoint}"))
    assert (found.name, found.read_text()) == ("state.safetensors", "those of step 5")
    sent = pickle.dumps(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other node"))
    there = pickle.loads(sent)
    assert there.is_relative_to(tmp_path / "other node")
    assert there.read_text() == "weights"
    bucket.write_text(FINAL, "weights of more steps")
    assert find_model(uri).read_text() == "weights of more steps"
    assert there.read_text() == "weights"  # which may be in use
    with pytest.raises(CheckpointError, match="model=s3://results/none: no such file"):
        find_model(bucket_server.uri("none"))
    with pytest.raises(CheckpointError, match="judge=s3://results/none: no such file"):
        find_model(bucket_server.uri("none"), "judge")
