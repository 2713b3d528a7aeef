"""jobs.judge_digits: figures that follow from the pictures, the same again, refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hw2.digits.judging import load_judge
from hw2.digits.student_grades import DigitReader
from hw2.metrics.intervals import mean_of_intervals, wilson
from tests.digits.handed_in import picture, write_bad_student, write_student
from tests.jobs.command import Folder, rows

DOMAINS = ("mnistm", "svhn")


@pytest.fixture
def handed(folder: Folder) -> Folder:
    """Ann handed in all; of Bob's a 7 is missing in svhn; Cy has but broken things."""
    write_student(folder.path / "all/ann")
    write_student(folder.path / "all/bob", seed=1)
    (folder.path / "all/bob/svhn/7_002.png").unlink()
    picture(0).save(folder.path / "private.png")
    write_bad_student(folder.path / "all/cy", folder.path / "private.png")
    return folder


@torch.no_grad()
def reads(weights: Path, path: Path, domain: str) -> int:
    """What the judge sees in a file, without our reader."""
    with Image.open(path) as opened:
        pixels = torch.from_numpy(np.array(opened.convert("RGB"))).movedim(-1, 0)[None].float()
    if pixels.shape[-2:] != (28, 28):
        pixels = F.interpolate(pixels, (28, 28), mode="area").round()
    logits, _ = load_judge(weights)(pixels / 127.5 - 1, torch.tensor([DOMAINS.index(domain)]))
    return int(logits.argmax())


def test_figures_follow_from_the_pictures(handed: Folder, judge: Path) -> None:
    settings = {"pictures": "all", "judge": judge, "out": "out"}
    ended = handed.run_here("judge_digits", settings)
    assert ended.code == 0 and "judging: 92/92 files" in ended.err
    out = handed.path / "out"
    table = rows(out / "tables/pictures.csv")
    assert len(table) == 40 + 39 + 13
    right = dict.fromkeys([(s, d) for s in ("ann", "bob", "cy") for d in DOMAINS], 0)
    for row in table:
        path = handed.path / "all" / row["student"] / row["domain"] / row["file"]
        if row["read_as"]:
            assert int(row["read_as"]) == reads(judge, path, row["domain"])
            assert row["digit"] == row["file"][0] and not row["reason"]
            right[row["student"], row["domain"]] += row["read_as"] == row["digit"]
        else:
            assert row["student"] == "cy" and row["reason"]
    assert rows(out / "tables/bad_pictures.csv") == [row for row in table if row["reason"]]

    totals = {"ann": (20, 20), "bob": (20, 19), "cy": (9, 0)}
    students = rows(out / "tables/students.csv")
    keys = [(s, d) for s in totals for d in (*DOMAINS, "mean")]
    assert [(row["student"], row["domain"]) for row in students] == keys
    found = json.loads((out / "metrics.json").read_text())["students"]
    for name, counts in totals.items():
        shares = []
        for domain, total in zip(DOMAINS, counts, strict=True):
            own = found[name][domain]
            assert own["pictures"] == total and own["read_right"] == right[name, domain]
            if total:
                shares.append(wilson(right[name, domain], total))
                assert [own[k] for k in ("value", "low", "high")] == [*vars(shares[-1]).values()]
        value = found[name]["mean"]["value"]
        assert value == (mean_of_intervals(shares).value if len(shares) == 2 else None)
    by_key = {(row["student"], row["domain"]): row for row in students}
    assert by_key["bob", "svhn"]["fewer"] == "7: 1 (of 2)" and not by_key["ann", "svhn"]["fewer"]
    assert by_key["cy", "svhn"]["fewer"] == "all" and by_key["cy", "svhn"]["accuracy"] == ""
    cy = by_key["cy", "mnistm"]
    assert [cy[k] for k in ("unreadable", "other_size", "not_counted")] == ["6", "1", "3"]
    assert "unreadable pictures count as wrong; 10 rows with reasons" in ended.out
    for domain in DOMAINS:
        with Image.open(out / f"figures/{domain}_confusion.png") as figure:
            assert min(figure.size) > 200
    sql = "SELECT value FROM latest_metrics WHERE key='eval/accuracy/ann'"
    assert handed.query(sql) == [(found["ann"]["mean"]["value"],)]

    kept = {path: path.stat().st_mtime_ns for path in (out / "readings").iterdir()}
    assert handed.run_here("judge_digits", settings).code == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "readings").iterdir()} == kept
    assert handed.query("SELECT status FROM runs") == [("FINISHED",)]
    assert handed.run_here("judge_digits", settings | {"num_per_class": "1"}).code == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "readings").iterdir()} == kept
    ann = rows(out / "tables/students.csv")[0]
    assert (ann["pictures"], ann["not_counted"], ann["fewer"]) == ("10", "10", "")
    more = {row["file"] for row in rows(out / "tables/bad_pictures.csv") if row["student"] == "ann"}
    assert more == {f"{digit}_002.png" for digit in range(10)}

    shutil.copytree(handed.path / "all/ann", handed.path / "all/dot")  # hands in late
    picture(5).save(handed.path / "all/ann/svhn/9_003.png")  # once more
    assert handed.run_here("judge_digits", settings).code == 0
    late = {path: path.stat().st_mtime_ns for path in (out / "readings").iterdir()}
    assert kept.items() < late.items() and len(late) == len(kept) + 1  # dot's are ann's from before
    students = rows(out / "tables/students.csv")
    assert [row["student"] for row in students[::3]] == ["ann", "bob", "cy", "dot"]
    ann = json.loads((out / "metrics.json").read_text())["students"]["ann"]
    assert ann["svhn"]["pictures"] == found["ann"]["svhn"]["pictures"] + 1


def test_a_refusal_leaves_nothing(handed: Folder, judge: Path) -> None:
    settings = {"pictures": "all", "judge": judge, "out": "out"}
    said = handed.run_here("judge_digits", settings | {"pictures": "all/ann,none"}).refusal()
    assert "pictures=none: no such folder: want a student's folder with mnistm/ and svhn/" in said
    said = handed.run_here("judge_digits", settings | {"pictures": "."}).refusal()
    assert "found all/, private.png" in said
    said = handed.run_here("judge_digits", settings | {"judge": "private.png"}).refusal()
    assert "private.png: not the course's Classifier.pth" in said
    said = handed.run_here("judge_digits", settings | {"scaling.num_workers": "2"}).refusal()
    assert "scaling.num_workers=2 on the command line: want 0" in said
    said = handed.run_here("judge_digits", settings | {"domains": "svhn,svhn"}).refusal()
    assert "want each domain once" in said
    assert sorted(path.name for path in handed.path.iterdir()) == ["all", "private.png"]


def test_one_domain_of_one_student(handed: Folder) -> None:
    settings = {"pictures": "all/ann", "domains": "svhn", "out": "out"}
    ended = handed.run_here("judge_digits", settings)
    assert ended.code == 0
    found = json.loads((handed.path / "out/metrics.json").read_text())
    assert list(found["students"]["ann"]) == ["svhn", "mean"]
    assert not (handed.path / "out/tables/bad_pictures.csv").exists()


def test_copies_of_real_pictures_are_told(folder: Folder, judge: Path, digits_tree: Path) -> None:
    """As a copy in another format; one with a single other value is none."""
    write_student(folder.path / "all/ann")
    real, changed = sorted((digits_tree / "digits/svhn/data").iterdir())[:2]
    with Image.open(real) as opened:
        opened.convert("RGB").save(folder.path / "all/ann/svhn/0_001.bmp")
    (folder.path / "all/ann/svhn/0_001.png").unlink()
    with Image.open(changed) as opened:
        pixels = np.array(opened.convert("RGB"))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(folder.path / "all/ann/svhn/0_002.png")
    settings = {"pictures": "all", "judge": judge, "out": "out"}
    assert folder.run_here("judge_digits", settings).code == 0
    out = folder.path / "out/tables"
    assert {row["copied"] for row in rows(out / "students.csv")} == {"0"}

    refusal = folder.run_here("judge_digits", settings | {"copies_of": "all"}).refusal()
    assert refusal.startswith("copies_of=all: has no folder digits: give a tree")

    settings["copies_of"] = digits_tree  # looked for in what was read before
    assert folder.run_here("judge_digits", settings).code == 0
    told = {row["domain"]: row["copied"] for row in rows(out / "students.csv")}
    assert told == {"mnistm": "0", "svhn": "1", "mean": "1"}
    (row,) = (row for row in rows(out / "pictures.csv") if row["equal_to"])
    assert row["file"] == "0_001.bmp"

    torn = folder.path / "torn"
    shutil.copytree(digits_tree, torn, ignore=shutil.ignore_patterns(".packed"))
    next((torn / "digits/mnistm/data").iterdir()).write_bytes(b"torn")
    ended = folder.run_here("judge_digits", settings | {"copies_of": torn})
    assert ended.code == 0 and f"warning: copies_of={torn}: " in ended.err
    assert {row["copied"] for row in rows(out / "students.csv")} == {"0", "1"}
    assert row["equal_to"] in [f"{digits_tree}: svhn, {split}" for split in ("train", "val")]


@torch.no_grad()
def test_it_tells_what_its_judge_makes_of_real_pictures(
    folder: Folder, judge: Path, digits_tree: Path
) -> None:
    """Of the val pictures of --copies_of, as sample_digits tells it of its data tree."""
    write_student(folder.path / "all/ann")
    settings = {"pictures": "all", "judge": judge, "out": "out"}
    assert "makes of real pictures is not known" in folder.run_here("judge_digits", settings).out
    assert list(json.loads((folder.path / "out/metrics.json").read_text())) == ["students"]

    ended = folder.run_here("judge_digits", settings | {"copies_of": digits_tree})
    assert ended.code == 0
    found = json.loads((folder.path / "out/metrics.json").read_text())
    parts = {}
    for domain in DOMAINS:
        table = (digits_tree / f"digits/{domain}/val.csv").read_text().split()[1:]
        files = [row.split(",") for row in table]
        folder_of = digits_tree / f"digits/{domain}/data"
        right = [reads(judge, folder_of / name, domain) == int(digit) for name, digit in files]
        parts[domain] = wilson(sum(right), len(files))
        told = found[f"eval/accuracy_real/{domain}"]
        assert told == {**vars(parts[domain]), "n": len(files)}
    mean = found["eval/accuracy_real"]
    assert mean["value"] == mean_of_intervals([*parts.values()]).value
    (row,) = (line for line in ended.out.splitlines() if "accuracy of real pictures" in line)
    assert all(f"{part:.1%}" in row for part in parts.values())
    for key in ("eval/accuracy_real", "eval/accuracy_real/svhn", "eval/accuracy_real/svhn.low"):
        name, _, limit = key.partition(".")
        sql = f"SELECT value FROM latest_metrics WHERE key='{key}'"
        assert folder.query(sql) == [(found[name][limit or "value"],)]

    alone = settings | {"copies_of": digits_tree, "domains": "svhn", "out": "alone"}
    assert folder.run_here("judge_digits", alone).code == 0
    found = json.loads((folder.path / "alone/metrics.json").read_text())
    keys = ["eval/accuracy_real/svhn", "eval/accuracy_real"]
    assert [*found] == ["students", *keys] and found[keys[0]] == found[keys[1]]


def test_it_computes_with_the_threads_that_it_is_given(
    handed: Folder, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    read = DigitReader.read
    monkeypatch.setattr(
        DigitReader,
        "read",
        lambda self, pictures: seen.append(torch.get_num_threads()) or read(self, pictures),
    )
    before = torch.get_num_threads()
    settings = {"pictures": "all/ann", "judge": judge, "out": "out"}
    try:
        for threads in (3, 1):
            given = {"scaling.cpus_per_worker": threads, "out": f"out{threads}"}
            assert handed.run_here("judge_digits", settings | given).code == 0
    finally:
        torch.set_num_threads(before)
    assert seen == [3, 1]
