import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from hw2.data.labels import Labels
from hw2.data.listing import store
from hw2.data.listing.pictures import Listing, list_pictures
from hw2.data.listing.store import open_store
from hw2.data.listing.tars import LOCAL_READ, Window, members
from hw2.errors import DataError
from tests.data.listing.picture_sets import (
    LABELS,
    SAMPLES,
    add_member,
    encoded,
    read_all,
    reasons,
    write_tar,
    write_tars,
)


def listed(path: Path) -> Listing:
    return list_pictures(str(path), LABELS)


def own_members(path: Path) -> list[tuple[str, int, int, bool]]:
    with open_store(str(path.parent)).open(path.name) as file:
        return [tuple(member) for member in members(Window(file, LOCAL_READ), path.stat().st_size)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path: Path, form: int) -> None:
    path = tmp_path / "set.tar"
    headers = {"comment": "é" * 300} if form == tarfile.PAX_FORMAT else {}
    with tarfile.open(path, "w", format=form, pax_headers=headers) as tar:
        add_member(tar, "0_1.png", b"x" * 70_000)
        for name in ("d/" * 45 + "0_2.png", "d" * 140 + "/0_3.png", "é_4.png"):
            add_member(tar, name, name.encode())
        if form != tarfile.USTAR_FORMAT:
            add_member(tar, "e" * 400 + ".png", b"y" * 512)
        for kind in (tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
            other = tarfile.TarInfo(f"{kind.decode()}_9.png")
            other.type, other.linkname = kind, "l" * 90
            other.size = 600 if kind == tarfile.SYMTYPE else 0  # of bytes that do not follow
            tar.addfile(other)
        other = tarfile.TarInfo("Z_9.png")  # of a kind that nobody knows, with bytes
        other.type, other.size = b"Z", 700
        tar.addfile(other, io.BytesIO(b"z" * 700))
        add_member(tar, "0_5.png", b"")
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size, m.isreg()) for m in tar.getmembers()]
    assert own_members(path) == expected and len(expected) >= 9


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE])
def test_a_header_before_a_member_tells_its_name_and_size(tmp_path: Path, kind: bytes) -> None:
    path, pax, member = tmp_path / "set.tar", tarfile.TarInfo("pax"), tarfile.TarInfo("short")
    records = b"17 path=a\xff_1.png\n10 size=4\n"
    pax.type, pax.size = kind, len(records)
    blocks = (pax.tobuf(), records, member.tobuf(), b"data", bytes(1024))
    path.write_bytes(b"".join(block.ljust(512, b"\0") for block in blocks))
    with tarfile.open(path) as tar:
        assert [(m.name, m.offset_data, m.size) for m in tar] == [("a\udcff_1.png", 1536, 4)]
    assert own_members(path) == [("a\udcff_1.png", 1536, 4, True)]


def test_webdataset_reads_the_same_samples(tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "set"))
    theirs = [
        (LABELS.index(sample["cls"].decode().strip()), sample["png"], None)
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    ]
    assert read_all(listed(path)) == theirs and len(theirs) == len(SAMPLES)
    writer = webdataset.ShardWriter(str(tmp_path / "w-%02d.tar"), maxcount=5, verbose=0)
    for place, (text, _, data) in enumerate(SAMPLES):
        writer.write({"__key__": f"{place:04d}", "png": data, "cls": text})
    writer.close()
    listing = listed(tmp_path)
    assert listing.kind == "tars" and len({*listing.table["source"].to_pylist()}) == 3
    assert read_all(listing) == theirs


def test_rows_stand_as_they_lie(tmp_path: Path) -> None:
    listing = listed(Path(write_tars(tmp_path / "set")))
    expected = []
    for shard in ("0.tar", "1.tar"):
        with tarfile.open(tmp_path / "set" / shard) as tar:
            expected += [(f"{shard}/{m.name}", m.offset_data) for m in tar.getmembers()]
    rows = zip(*(listing.table[key].to_pylist() for key in ("name", "offset")), strict=True)
    assert list(rows) == expected


def test_bad_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_FILE_BYTES", 4999)
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        add_member(tar, "a.png", b"good")
        add_member(tar, "b.CLS", b"1")
        add_member(tar, "b.png", b"before its class")
        add_member(tar, "b.seg.png", b"the same class")
        add_member(tar, "a.cls", b" 0\n")
        add_member(tar, "./1_1.png", b"")
        link = tarfile.TarInfo("1_1.cls")  # says nothing
        link.type, link.linkname = tarfile.SYMTYPE, "a.cls"
        tar.addfile(link)
        add_member(tar, "holiday.png", b"x")
        add_member(tar, "e.png", b"x")
        add_member(tar, "e.cls", b"")
        add_member(tar, "f.png", b"x")
        add_member(tar, "f.cls", b"\xff")
        add_member(tar, "0_2.png", b"x" * 5000)
        link = tarfile.TarInfo("0_3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        add_member(tar, "._a.png", b"hidden")
        add_member(tar, "notes.txt", b"passed over")
        add_member(tar, "0_\udcff.png", b"x")
        add_member(tar, f"{'d' * 120}/0_\udcff.png", b"x")
        add_member(tar, "c/a.png", b"in another folder than a.cls")
        add_member(tar, "1_2.PNG", b"in upper case")
    listing = listed(path)
    assert reasons(listing) == {
        "set.tar/holiday.png": "misnamed: want {class}_{n}.png",
        "set.tar/e.png": "its .cls is empty",
        "set.tar/f.png": "its .cls is not a text",
        "set.tar/0_2.png": "5000 bytes are over the allowed 4999",
        "set.tar/0_3.png": "it is not a regular file",
        "set.tar/0_\\xff.png": "its name is not UTF-8",
        f"set.tar/{'d' * 120}/0_\\xff.png": "its name is not UTF-8",
        "set.tar/c/a.png": "misnamed: want {class}_{n}.png",
    }
    assert "set.tar/1_1.png" in listing.table["name"].to_pylist()
    assert [row for row in read_all(listing) if row[2] is None] == [
        (0, b"good", None),
        (1, b"before its class", None),
        (1, b"the same class", None),
        (1, b"", None),
        (1, b"in upper case", None),
    ]


def cut(path: Path) -> str:
    """In the last member's bytes."""
    whole = path.read_bytes()
    last = own_members(path)[-1]
    path.write_bytes(whole[: last[1] + 10])
    return f"a member ends at byte {last[1] + last[2]} of {last[1] + 10}"


def cut_in_a_header(path: Path) -> str:
    at = own_members(path)[-1][1] - 512
    path.write_bytes(path.read_bytes()[: at + 100])
    return f"truncated header at byte {at}"


def bad_header(path: Path) -> str:
    whole = bytearray(path.read_bytes())
    at = own_members(path)[-1][1] - 512
    whole[at + 20] ^= 1
    path.write_bytes(whole)
    return f"bad checksum at byte {at}"


def claim(path: Path, size: int, kind: bytes = tarfile.REGTYPE) -> int:
    """Let the last member's header say another size, or another kind."""
    whole = bytearray(path.read_bytes())
    at = own_members(path)[-1][1] - 512
    info = tarfile.TarInfo.frombuf(bytes(whole[at : at + 512]), "utf-8", "strict")
    info.size, info.type = size, kind
    whole[at : at + 512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
    path.write_bytes(whole)
    return at


def claims_much(path: Path) -> str:
    return f"a member ends at byte {claim(path, 2**50) + 512 + 2**50} of {path.stat().st_size}"


def claims_more_than_a_number_holds(path: Path) -> str:
    return f"a member of {2**70} bytes at byte {claim(path, 2**70)}"


def claims_less_than_nothing(path: Path) -> str:
    return f"a member of an unknown kind at byte {claim(path, -1024)}"


def sparse(path: Path) -> str:
    """The last member has holes, which its bytes leave out."""
    kind = tarfile.GNUTYPE_SPARSE
    return f"a member of an unknown kind at byte {claim(path, own_members(path)[-1][2], kind)}"


def pax(path: Path, size: int, content: bytes = b"") -> int:
    """Put a PAX header that claims a size before the last member; where."""
    whole = path.read_bytes()
    at = own_members(path)[-1][1] - 512
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, size
    header = info.tobuf(tarfile.GNU_FORMAT)[:512]
    blocks = content.ljust(512, b"\0") if content else b""
    path.write_bytes(whole[:at] + header + blocks + whole[at:])
    return at


def large_pax(path: Path) -> str:
    return f"a header of {2**30} bytes at byte {pax(path, 2**30)}"


def pax_of_less_than_nothing(path: Path) -> str:
    """Who skipped it would come back to it for ever."""
    return f"a header of -512 bytes at byte {pax(path, -512)}"


def broken_pax(path: Path) -> str:
    return f"a broken PAX header at byte {pax(path, 10, b'0 a=b' + bytes([10]))}"


def pax_that_claims_much(path: Path) -> str:
    return f"a broken PAX header at byte {pax(path, 7, b'99 a=b' + bytes([10]))}"


@pytest.mark.parametrize(
    "spoil",
    [
        cut,
        cut_in_a_header,
        bad_header,
        claims_much,
        claims_more_than_a_number_holds,
        claims_less_than_nothing,
        sparse,
        large_pax,
        pax_of_less_than_nothing,
        broken_pax,
        pax_that_claims_much,
    ],
)
def test_a_tar_that_breaks_off_keeps_what_comes_before(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    for name, first in (("a.tar", 0), ("b.tar", 3)):
        with tarfile.open(tmp_path / name, "w", format=tarfile.GNU_FORMAT) as tar:
            for n in range(first, first + 3):
                add_member(tar, f"0_{n}.png", encoded(n))
    reason = f"the tar breaks off: {spoil(tmp_path / 'a.tar')}"
    listing = listed(tmp_path)
    found = reasons(listing)
    assert found.pop("a.tar") == reason
    assert found.pop("a.tar/0_2.png", "the tar ends within it") == "the tar ends within it"
    assert not found
    good = [data for _, data, reason in read_all(listing) if reason is None]
    assert good == [encoded(n) for n in (0, 1, 3, 4, 5)]


def test_what_is_no_tar(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w:gz") as tar:
        add_member(tar, "0_1.png", encoded(0))
    with pytest.raises(DataError, match=r"no usable picture: 'set.tar': it is not a plain tar: "):
        listed(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="holds no pictures"):
        listed(path)


def test_the_end_mark_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        add_member(tar, "0_1.png", b"x" * 512)
    path.write_bytes(path.read_bytes()[: own_members(path)[-1][1] + 512])
    listing = list_pictures(str(path), Labels(("0",), ("cat",)))
    assert read_all(listing) == [(0, b"x" * 512, None)]
