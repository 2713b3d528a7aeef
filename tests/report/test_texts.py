"""The words of the page: complete and alike in all languages."""

import re
import string
from typing import get_args

import pytest

from hw2.report.concepts import WAYS, named_way
from hw2.report.page import command, held, inline
from hw2.report.sentences import Said
from hw2.report.texts import FOLDER, Texts
from hw2.settings.report import Language
from hw2.yaml_text import read_yaml


def names_in(tree: dict[str, object], prefix: str = "") -> dict[str, set[str]]:
    """By dotted key, what is to be filled in."""
    found: dict[str, set[str]] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= names_in(value, f"{prefix}{key}.")
        else:
            parts = string.Formatter().parse(str(value))
            found[f"{prefix}{key}"] = {name for _, name, _, _ in parts if name}
    return found


@pytest.mark.parametrize("language", get_args(Language))
def test_a_language_has_all_texts_with_all_their_numbers(language: str) -> None:
    english = names_in(read_yaml(FOLDER / "en.yaml"))
    assert len(english) > 100
    assert names_in(read_yaml(FOLDER / f"{language}.yaml")) == english
    assert Texts.of(language).keys == set(english)


def test_a_sentence_lists_names_in_its_own_language() -> None:
    said = Said("p3.ways_never", {"ways": ("ways.joint", "ways.merged"), "n": "5"})
    assert "joint training, merged" in Texts.of("en").say(said)
    assert "聯合訓練、合併" in Texts.of("zh-TW").say(said)


def test_all_ways_have_a_name_and_those_of_others_keep_theirs() -> None:
    named = {key for key in Texts.of("en").keys if key.startswith("ways.")}
    assert {f"ways.{way}" for way in WAYS} == named
    assert named_way("by_hand") == "by_hand"


def test_folded_lines_leave_no_space_between_chinese_signs() -> None:
    wide = "[\u3000-\u9fff\uff00-\uffef]"
    texts = Texts.of("zh-TW")
    found = [text for key in texts.keys if re.search(f"{wide} {wide}", text := texts.name(key))]
    assert found == []


def test_limits_are_written_as_the_language_does() -> None:
    chinese, limits = Texts.of("zh-TW"), "6.0 (-2.0 \u2026 1.5e-05)"
    assert chinese.label(limits) == "6.0 (-2.0 \u81f3 1.5e-05)"
    said = Said("format.named", {"name": "a (1 \u2026 b)", "value": limits})
    assert chinese.say(said) == "a (1 \u2026 b)\uff1a6.0 (-2.0 \u81f3 1.5e-05)"
    assert Texts.of("en").label(limits) == limits


def test_a_number_is_held_together_with_its_percent_and_within_its_limits() -> None:
    told = held("a<b 71 % (66-76), 6.0 (-2.0 \u2026 11.5) of (x 2) at w = -0.5.")
    number, limits, more, at = (
        f'<span class="held">{one}</span>'
        for one in ("71 %", "(66-76)", "(-2.0 \u2026 11.5)", "w = -0.5")
    )
    assert told == f"a&lt;b {number} {limits}, 6.0 {more} of (x 2) at {at}."
    assert inline("`71 %` 71 %") == f"<code>71 %</code> {number}"


def test_an_option_of_a_command_is_held_together_and_all_is_escaped() -> None:
    told = command("python -m jobs.x --scaling.cpus 2 --together 'a <new1>'  b --x=1")
    held_words = [
        f'<span class="held">{one}</span>' for one in ("-m", "--scaling.cpus", "--together")
    ]
    m, cpus, together = held_words
    assert told == f"python {m} jobs.x {cpus} 2 {together} &#39;a &lt;new1&gt;&#39;  b --x=1"


def test_code_is_marked_and_all_else_escaped() -> None:
    assert inline("a `b<c` <i>") == "a <code>b&lt;c</code> &lt;i&gt;"


@pytest.mark.parametrize("language", get_args(Language))
def test_sentences_over_a_range_name_its_ends(language: str) -> None:
    texts = names_in(read_yaml(FOLDER / f"{language}.yaml"))
    over = {key: names for key, names in texts.items() if re.search("_(rises|falls|same)$", key)}
    ends = {key: names for key, names in over.items() if names >= {"from", "to"}}
    assert len(ends) == 9 and all(names >= {"first", "last"} for names in ends.values())


def test_a_chinese_column_is_not_read_as_a_deed() -> None:
    texts = Texts.of("zh-TW")
    said = map(texts.name, texts.keys)
    found = [text for text in said if re.search("(?<!直)行(?=為|雜訊|回答)", text)]
    assert found == []
