import json
import pickle
from pathlib import Path

import pytest

from hw2.data import labels as labels_module
from hw2.data.labels import Labels, read_labels
from hw2.errors import DataError


def test_numeric_ids_stand_in_numeric_order(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    path.write_text('\ufeff{"10": "cat", "9": "dog", "0": "Köter"}', encoding="utf-8")
    labels = read_labels(path)
    assert labels == Labels(("0", "9", "10"), ("Köter", "dog", "cat"))
    assert len(labels.ids) == 3 and labels.numeric
    assert [labels.index(text) for text in ("10", "dog", "Köter", "3", "")] == [2, 1, 0, None, None]
    assert pickle.loads(pickle.dumps(labels)) == labels


def test_other_ids_stand_as_written(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    path.write_text('{"n02": "cat", "n01": "dog"}')
    labels = read_labels(path)
    assert labels == Labels(("n02", "n01"), ("cat", "dog")) and not labels.numeric


def test_leading_zeros_do_not_change_the_order(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    path.write_text('{"10": "a", "007": "b", "5": "c", "0": "d"}')
    assert read_labels(path) == Labels(("0", "5", "007", "10"), ("d", "c", "b", "a"))


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (("10", "b", "2"), ("x", "y", "z")),
        (("²", "1"), ("x", "y")),  # which isdigit takes
        (("n02", "n01"), ("7", "cat")),
        (("n02", "1"), ("7", "8")),
    ],
)
def test_ids_that_are_not_all_numbers_stand_as_written(
    tmp_path: Path, ids: tuple[str, ...], names: tuple[str, ...]
) -> None:
    path = tmp_path / "id2label.json"
    path.write_text(json.dumps(dict(zip(ids, names, strict=True))))
    labels = read_labels(path)
    assert labels == Labels(ids, names) and not labels.numeric


def test_the_longest_label_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    path.write_text(json.dumps({"0": "x" * 999}))
    assert read_labels(path).names == ("x" * 999,)


def test_a_list_is_numbered(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    names = [f"class {i}" for i in range(11)]
    path.write_text(json.dumps(names))
    assert read_labels(path) == Labels(tuple(map(str, range(11))), tuple(names))


def test_an_id_goes_before_a_name(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    path.write_text('{"0": "1", "1": "0"}')
    assert [read_labels(path).index(text) for text in "01"] == [0, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b'{"0": "cat"', "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"0": "\xff"}', "not text in UTF-8 (invalid start byte at byte 7)"),
        (b"3", "it holds 3, want"),
        (b"{}", "it holds no labels"),
        (b"[]", "it holds no labels"),
        (b'{"0": 1}', "label of id '0' is 1, want a text"),
        (b'["cat", null]', "label of id '1' is None, want a text"),
        (b'{"0": {"name": "cat"}}', "want a text"),
        (b'{"0": "cat", "0": "dog"}', "the id '0' is there twice"),
        (b'{"0": "cat", "1": "dog", "2": "cat"}', "ids '0' and '2' have the same label 'cat'"),
        (b'["cat", "cat"]', "ids '0' and '1' have the same label 'cat'"),
        (b'{"0": " "}', "id '0' has the label ' ': none may be empty"),
        (b'{"": "cat"}', "none may be empty"),
        (b'{"cat": "0", "dog": "1"}', "numbers and its ids names, as 'cat': '0': want them the"),
        (b'{"0": "\\ud800"}', "half a surrogate pair"),
        (b'{"0": "' + b"x" * 1000 + b'"}', "xxx have 1001 letters: want at most 1000"),
        (b'{"0": "a\\nb", "1": "a\\nb"}', r"label 'a\\nb'"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "id2label.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_labels(path)
    message = str(refused.value)
    assert reason.replace(r"\\", "\\") in message
    assert message.startswith(f"{path}: ") and "\n" not in message


def test_files_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"none.json: cannot be read .No such file"):
        read_labels(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"cannot be read .Is a directory.*id2label\.json"):
        read_labels(tmp_path)
    with pytest.raises(DataError, match=r"cannot be read .*embedded null"):
        read_labels(tmp_path / "a\0b.json")
    (tmp_path / "large.json").write_text('["cat"]')
    monkeypatch.setattr(labels_module, "MAX_BYTES", 6)
    with pytest.raises(DataError, match=r"large\.json: 7 bytes are over the allowed 6"):
        read_labels(tmp_path / "large.json")
