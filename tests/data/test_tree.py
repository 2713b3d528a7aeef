import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from hw2.data import face_tree
from hw2.data.recipe import Recipe
from hw2.data.tree import prepare_digits
from hw2.data.writing import writable
from hw2.errors import ConfigError
from hw2.settings.data import PrepareDataConfig
from jobs import prepare_data
from tests.hashes import files
from tests.jobs.command import Folder

SMALL = {"num_train": 10, "num_val": 10}


def test_the_tree_has_the_courses_layout_and_balanced_digits(digits_tree: Path) -> None:
    for domain in ("mnistm", "svhn"):
        folder = digits_tree / "digits" / domain
        names = []
        for split, count in (("train", 200), ("val", 100)):
            header, *rows = (folder / f"{split}.csv").read_text().splitlines()
            assert header == "image_name,label"
            assert len(rows) == count
            digits = [row.split(",")[1] for row in rows]
            assert all(digits.count(str(digit)) == count // 10 for digit in range(10))
            names += [row.split(",")[0] for row in rows]
        assert sorted(names) == sorted(path.name for path in (folder / "data").iterdir())
        with Image.open(folder / "data" / names[0]) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (28, 28))


def test_two_processes_make_the_bytes_that_one_makes(tmp_path: Path) -> None:
    for workers in (1, 2):
        prepare_digits(tmp_path / str(workers), 3, 260, 10, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_another_seed_makes_other_pictures(digits_tree: Path, tmp_path: Path) -> None:
    prepare_digits(tmp_path, 1, 10, 10)
    other = files(tmp_path)
    same = set(other.values()) & set(files(digits_tree).values())
    assert not {name for name, sha in other.items() if sha in same and name.endswith(".png")}


def test_a_killed_run_leaves_no_table_and_is_continued(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from hw2.data.tree import prepare_digits\n"
        f"prepare_digits(Path({str(tmp_path / 'killed')!r}), 3, 260, 10, workers=1)"
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([sys.executable, "-c", code], **quiet)  # type: ignore[call-overload]
    drawn = tmp_path / "killed/digits/mnistm/data"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (drawn.is_dir() and len(os.listdir(drawn)) > 20):
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not list(tmp_path.rglob("*.csv"))
    prepare_digits(tmp_path / "killed", 3, 260, 10)
    prepare_digits(tmp_path / "whole", 3, 260, 10)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_the_courses_own_data_is_left_alone(
    course_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(course_tree)
    for source in ("offline", "torchvision"):  # of which nothing is downloaded then
        prepare_digits(course_tree, source=source)
        told = capsys.readouterr().out
        assert told == f"{course_tree / 'digits'}: not made by this job, left as it is\n"
    assert files(course_tree) == before


def test_the_other_parts_are_made_beside_the_courses_digits(
    course_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_tree, "RELEASED", course_tree / "none")  # GT takes half a minute
    before = files(course_tree)
    sizes = {"num_faces": 10, "num_noises": 2, "num_clip_train": 10, "num_clip_val": 1}
    prepare_data.main(PrepareDataConfig(out=course_tree, num_text2image=10, **sizes))
    after = files(course_tree)
    assert {name: after.pop(name) for name in before} == before
    parts = {"face", "clip_zeroshot", "text2image", "textual_inversion"}
    assert {name.split("/")[0] for name in after} == parts


def test_a_tree_begun_from_another_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits/torchvision.json").write_text("{}")
    with pytest.raises(ConfigError, match="this recipe did not make"):
        prepare_digits(tmp_path)
    assert list(files(tmp_path)) == ["digits/torchvision.json"]


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"num_train": 0}, "num_train=0"),
        ({"num_val": 3}, "num_val=3"),
    ],
)
def test_impossible_settings_are_refused(
    settings: dict[str, int], shown: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=shown):
        prepare_digits(tmp_path, **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("refused", ["tree", "tree/digits", "tree/digits/mnistm/data"])
def test_a_tree_that_cannot_be_written_is_told_in_a_line(
    number: int, refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def refuse(path: Path, mode: int) -> None:  # root may write everywhere
        if str(path) == refused:
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", refuse)
    ended = Folder(tmp_path).run_here("prepare_data", {"out": "tree", **SMALL})
    told = f"cannot write {refused} ({os.strerror(number)}): choose another --out"
    assert ended.refusal() == told


def test_a_tree_below_a_file_is_refused_and_other_errors_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = Folder(tmp_path).run_here("prepare_data", {"out": "file", **SMALL})
    assert ended.refusal().startswith("cannot write file/digits (Not a directory): choose another")
    ended = Folder(tmp_path).run_here("prepare_data", {"out": "/proc/none", **SMALL})
    assert ended.refusal().startswith("cannot write /proc/none (No such file or directory): choose")
    for error in (PermissionError(13, "no", "/elsewhere"), FileNotFoundError(2, "no", "tree/a")):
        with pytest.raises(type(error)), writable(Path("tree")):
            raise error


def test_the_recipe_file_says_all_that_decides_the_bytes(digits_tree: Path) -> None:
    recipe = json.loads((digits_tree / "digits/offline.json").read_text())
    assert recipe == {"recipe": 1, "seed": 0, "num_train": 200, "num_val": 100}


def test_what_a_killed_process_left_is_no_tree_of_another(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path / "digits/offline.json", {"seed": 0})
    recipe.path.parent.mkdir()
    (recipe.path.parent / ".offline.json.1.tmp").touch()
    assert not recipe.is_anothers()
    (tmp_path / "file").touch()
    assert Recipe(tmp_path / "file/offline.json", {"seed": 0}).is_anothers()


def test_of_two_who_begin_a_tree_at_once_with_other_settings_the_second_is_refused(
    tmp_path: Path,
) -> None:
    """Both had looked at the folder before either left its recipe, and their pictures mixed."""
    first, second = (Recipe(tmp_path / "digits/offline.json", {"seed": seed}) for seed in (0, 7))
    for recipe in (first, second):
        recipe.insist()
    first.claim()
    with pytest.raises(ConfigError, match=r"holds a tree of other settings \(seed: 0 there, 7"):
        second.claim()
    first.claim()
    assert [path.name for path in first.path.parent.iterdir()] == ["offline.json"]
