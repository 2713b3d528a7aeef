"""One little set of pictures, in every layout."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hw2.data.labels import Labels
from hw2.data.listing.parts import read_part
from hw2.data.listing.pictures import Listing

LABELS = Labels(("0", "1", "10"), ("cat", "dog", "great white shark"))


def encoded(seed: int, kind: str = "PNG") -> bytes:
    """A random 6x5 picture as bytes of a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


# By class id: what every layout below holds, and nothing else.
PICTURES = {text: [encoded(10 * i + n) for n in range(4)] for i, text in enumerate(LABELS.ids)}
SAMPLES = [(text, n, data) for text, files in PICTURES.items() for n, data in enumerate(files)]


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A regular member with this content."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_names(folder: Path) -> str:
    folder.mkdir()
    for text, n, data in SAMPLES:
        (folder / f"{text}_{n}.png").write_bytes(data)
    return str(folder)


def write_folders(folder: Path) -> str:
    for text, n, data in SAMPLES:
        path = folder / ("great white shark" if text == "10" else text) / f"deep{n % 2}/x{n}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


def write_csv(folder: Path) -> str:
    write_names(folder)
    rows = [f"ignored,./{text}_{n}.png,{text}\r\n" for text, n, _ in SAMPLES]
    (folder / "set.csv").write_bytes(b"\xef\xbb\xbfnote,image,cls\r\n" + "".join(rows).encode())
    return str(folder / "set.csv")


def write_manifest(folder: Path) -> str:
    write_names(folder)
    names = [LABELS.names[LABELS.ids.index(text)] for text, _, _ in SAMPLES]
    paths = [f"{text}_{n}.png" for text, n, _ in SAMPLES]
    table = pa.table({"file_name": paths, "class": pa.array(names).dictionary_encode()})
    pq.write_table(table, folder / "set.parquet")
    return str(folder / "set.parquet")


def write_tar(folder: Path) -> str:
    """One tar with .cls members, and other members that are passed over."""
    folder.mkdir()
    with tarfile.open(folder / "set.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for text, n, data in SAMPLES:
            key = f"{'long/' * 40}{text}é{n}" if n == 3 else f"./{text}x{n}"
            add_member(tar, f"{key}.json", b"{}")
            add_member(tar, f"{key}.png", data)
            add_member(tar, f"{key}.cls", text.encode() + b"\n")
    return str(folder / "set.tar")


def write_tars(folder: Path) -> str:
    """A folder of tars whose members are named by their class."""
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            for text, n, data in SAMPLES[shard::2]:
                add_member(tar, f"{'deep/' * 30 * (n % 2)}{text}_{n}.png", data)
    (folder / "README.md").write_text("passed over")
    return str(folder)


def write_parquet(folder: Path) -> str:
    """As Hugging Face writes it; several row groups."""
    folder.mkdir()
    table = pa.table(
        {
            "image": [{"bytes": data, "path": f"{n}.png"} for _, n, data in SAMPLES],
            "fine_label": [int(text) for text, _, _ in SAMPLES],
        }
    )
    pq.write_table(table, folder / "set.parquet", row_group_size=5)
    return str(folder / "set.parquet")


def write_parquets(folder: Path) -> str:
    """A folder of files with a column of bytes."""
    folder.mkdir()
    for shard in range(2):
        part = SAMPLES[shard::2]
        columns = {"cls": [text for text, _, _ in part], "png": [data for _, _, data in part]}
        pq.write_table(pa.table(columns), folder / f"{shard}.parquet")
    return str(folder)


LAYOUTS = {
    "names": (write_names, "names"),
    "folders": (write_folders, "folders"),
    "csv": (write_csv, "manifest"),
    "manifest": (write_manifest, "manifest"),
    "tar with cls": (write_tar, "tars"),
    "tars": (write_tars, "tars"),
    "Hugging Face": (write_parquet, "parquet"),
    "Parquet files": (write_parquets, "parquet"),
}


def read_all(listing: Listing, rows: int = 5) -> list[tuple[int, bytes | None, str | None]]:
    """Label, bytes and reason of every row."""
    found = []
    for part in listing.parts(rows):
        labels = part.table["label"].to_pylist()
        found += [(labels[row], data, reason) for row, data, reason in read_part(part)]
    return found


def reasons(listing: Listing) -> dict[str, str]:
    """What is wrong with the rows that are bad already."""
    rows = listing.table.select(["name", "reason"]).to_pylist()
    return {row["name"]: row["reason"] for row in rows if row["reason"] is not None}
