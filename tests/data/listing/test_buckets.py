"""Sets in a bucket, from a server of the S3 protocol on loopback."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from hw2.data.listing import store
from hw2.data.listing.pictures import list_pictures
from hw2.errors import ConfigError, DataError
from tests.data.listing.picture_sets import LABELS, LAYOUTS, read_all, reasons

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options() -> Iterator[str]:
    """The options of a URI that lead to an empty server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server.start()
        yield f"?endpoint_override=127.0.0.1:{server.get_host_and_port()[1]}&scheme=http"
        server.stop()


@pytest.fixture
def bucket(options: str, tmp_path: Path) -> fs.FileSystem:
    """Every layout in s3://bucket/a set/, where each is a folder."""
    files, _ = fs.FileSystem.from_uri(f"s3://bucket{options}&allow_bucket_creation=true")
    files.create_dir("bucket")
    for layout in LAYOUTS:
        LAYOUTS[layout][0](tmp_path / layout)
    fs.copy_files(str(tmp_path), "bucket/a set", destination_filesystem=files, use_threads=False)
    return files


def test_every_layout_reads_as_from_a_disk(
    bucket: fs.FileSystem, options: str, tmp_path: Path
) -> None:
    for layout, (_, kind) in LAYOUTS.items():
        local = tmp_path / layout
        file = next((path.name for path in local.iterdir() if path.stem == "set"), "")
        column = "png" if "files" in layout else None
        here = list_pictures(str(local / file), LABELS, image_column=column)
        uri = f"s3://bucket/a%20set/{layout.replace(' ', '%20')}/{file}{options}"
        there = list_pictures(uri, LABELS, image_column=column)
        assert there.kind == kind
        columns = ["source", "name", "offset", "size", "label", "reason"]
        assert there.table.select(columns).equals(here.table.select(columns)), layout
        assert read_all(pickle.loads(pickle.dumps(there))) == read_all(here)


def test_what_is_wrong_in_a_bucket(
    bucket: fs.FileSystem, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_FILE_BYTES", 4999)

    def put(name: str, content: bytes) -> None:
        with bucket.open_output_stream(f"bucket/a set/names/{name}") as file:
            file.write(content)

    put("holiday.png", b"x")
    put("0_90.png", b"x" * 5000)
    put("0_91.txt", b"x")
    put(".hidden.png", b"x")
    put("0_92.png", b"")
    put("set.csv", b"path,label\n0_0.png,0\nnone.png,0\n../tars/0.tar,0\n")
    uri = f"s3://testing:testing@bucket/a%20set/names{options}"
    listing = list_pictures(uri, LABELS)
    assert reasons(listing).keys() == {"holiday.png", "0_90.png", "0_91.txt", "set.csv"}
    bucket.delete_file("bucket/a set/names/0_0.png")
    put("0_1.png", b"longer than it was " * 20)
    found = dict(zip(listing.table["name"].to_pylist(), read_all(listing), strict=True))
    assert found["0_0.png"] == (0, None, "the file is missing")
    assert found["0_1.png"] == (0, None, "it changed since it was listed")
    assert found["0_92.png"] == (0, b"", None)
    with pytest.raises(DataError, match="no usable picture") as refused:
        list_pictures(uri.replace("names?", "names/set.csv?"), LABELS)
    assert "'none.png': the file is missing" in str(refused.value)
    for place in ("bucket/none", "none/none"):
        with pytest.raises(DataError, match="no such file or folder") as refused:
            list_pictures(f"s3://testing:testing@{place}{options}", LABELS)
        assert "testing" not in str(refused.value)
    with pytest.raises(ConfigError, match="Cannot parse URI"):
        list_pictures(f"s3://testing:testing@bucket/a set{options}", LABELS)


def test_a_server_that_is_away_is_not_waited_for() -> None:
    options = "?endpoint_override=127.0.0.1:9&scheme=http"
    with pytest.raises(DataError, match=r"gs://b/x.*: cannot be looked at .*Could not connect"):
        list_pictures(f"gs://anonymous@b/x{options}&retry_limit_seconds=1", LABELS)
    assert store._patient(f"gs://b/x{options}").endswith("&retry_limit_seconds=60")
    assert store._patient("gs://b/x") == "gs://b/x?retry_limit_seconds=60"
    assert store._patient("s3://b/x") == "s3://b/x"
