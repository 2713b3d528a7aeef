"""Files of captions from outside."""

import os
from pathlib import Path

import pytest

from hw2.errors import ConfigError
from hw2.personalize.templates import MAX_BYTES, read_templates, templates_for


def test_a_file_of_ones_own_with_a_mark_at_its_head(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("a {}\n\n  the {} there \n", encoding="utf-8-sig")
    assert read_templates(str(file)) == ("a {}", "the {} there")


def test_a_style_has_captions_of_its_own() -> None:
    for kind, sets in ((None, ("object", "plain_object")), ("style", ("style", "plain_style"))):
        assert (templates_for("auto", kind), templates_for("plain", kind)) == sets
        assert templates_for("mine.txt", kind) == "mine.txt"


@pytest.mark.parametrize("text", ["", "\n \n", "a {}\na photo\n", "{} and {}", "a {} {x}", "a {}}"])
def test_captions_without_one_place_for_the_token(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(ConfigError, match=r"mine.txt: (.* needs exactly one \{\}|has no caption)$"):
        read_templates(str(tmp_path / "mine.txt"))


def test_a_pipe_is_not_waited_for_and_a_large_file_not_read(tmp_path: Path) -> None:
    pipe, large, other = (tmp_path / name for name in ("pipe", "large.txt", "other.txt"))
    os.mkfifo(pipe)
    large.write_text("a {}\n" * (MAX_BYTES // 5 + 1))
    other.write_bytes(b"a {}\xff")
    for file, told in (
        (pipe, "it is not a regular file"),
        (large, "bytes are over the allowed"),
        (other, "not text in UTF-8"),
    ):
        with pytest.raises(ConfigError, match=rf"templates={file}: .*{told}"):
            read_templates(str(file))
