"""Prompts: published sets equal to their publishers', names cleaned, bad templates refused."""

import json
from pathlib import Path

import clip_benchmark.datasets
import open_clip
import pytest

from hw2.clip.prompts import PUBLISHED, PromptSet, clean_name, fill, prompt_sets
from hw2.errors import ConfigError
from hw2.settings.zero_shot import ClipZeroShotConfig

EN = Path(clip_benchmark.datasets.__file__).parent / "en_zeroshot_classification_templates.json"


def texts(entry: str, name: str) -> list[str]:
    return prompt_sets([entry], [False])[0].prompts([name])[0]


def test_the_published_sets_are_their_publishers() -> None:
    benchmark = json.loads(EN.read_text())
    assert texts("cifar", "cat") == [t.format(c="cat") for t in benchmark["cifar100"]]
    assert texts("imagenet", "cat") == [t.format(c="cat") for t in benchmark["imagenet1k"]]
    assert texts("imagenet", "cat") == [t("cat") for t in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert texts("imagenet7", "cat") == [t("cat") for t in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    assert texts("course", "aquarium_fish") == ["A photo of aquarium_fish."]


def test_every_published_file_can_be_asked_for() -> None:
    for path in PUBLISHED.glob("*.txt"):
        assert prompt_sets([path.stem], [True])[0].name == path.stem


@pytest.mark.parametrize(
    ("template", "name", "want"),
    [
        ("a photo of a {}.", "aquarium_fish", "a photo of an aquarium fish."),
        ("A {label}!", "oak_tree", "An oak tree!"),
        ("a photo of a {}.", "Airedale", "a photo of an Airedale."),
        ("a photo of the {}.", "oak_tree", "a photo of the oak tree."),
        ("a photo of a {}.", "the_sea", "a photo of the sea."),
        ("a photo of a {}.", "The_Wave", "a photo of The Wave."),
        ("a photo of a small {c}.", "apple", "a photo of a small apple."),
        ("{}", "  two__words ", "two words"),
        ("a photo of extra {}.", "apple", "a photo of extra apple."),  # no article
    ],
)
def test_cleaning(template: str, name: str, want: str) -> None:
    assert fill(template, name, clean=True) == want


def test_without_cleaning_a_name_stays_as_it_is() -> None:
    assert fill("a photo of a {}.", "aquarium_fish", clean=False) == "a photo of a aquarium_fish."


def test_a_template_cannot_reach_into_objects() -> None:
    assert fill("{} {0.__class__}", "cat", clean=True) == "cat {0.__class__}"
    assert clean_name("a_{}_b") == "a {} b"


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{label} {c}"])
def test_a_template_needs_one_placeholder(template: str) -> None:
    with pytest.raises(ConfigError, match=r"needs one \{\}"):
        PromptSet("own", (template,), clean=True).prompts(["cat"])


def test_sets_with_and_without_cleaning(tmp_path: Path) -> None:
    file = tmp_path / "my words.txt"
    file.write_text("a {}.\n\n  the {label}\n")
    found = prompt_sets(["simple", str(file), "one {}|two {}"], [True, False])
    assert [s.name for s in found][:4] == ["simple", "simple-raw", "my_words", "my_words-raw"]
    assert found[2].prompts(["b_c"]) == [["a b c.", "the b c"]]
    assert found[3].prompts(["b_c"]) == [["a b_c.", "the b_c"]]
    assert found[4].prompts(["b"]) == [["one b", "two b"]]
    assert found[4].name.startswith("one_two_")


def test_names_of_sets_are_separated_by_commas() -> None:
    for given, asked in (("simple, course", ("simple", "course")), ("a {}, old", ("a {}, old",))):
        config = ClipZeroShotConfig(out=Path("out"), templates=given)
        assert config.asked_templates == asked


def refused(entries: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        prompt_sets(entries, [True])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_refusals(tmp_path: Path) -> None:
    refused(["imagnet"], "templates=imagnet: neither a published set (cifar, course, imagenet")
    refused(["a {} and a {}"], "needs one {} for the class's name")
    refused(["a {}|a photo"], "'a photo' needs one {}")
    refused(['"a {}.", "no {}."'], "for the class's name; to compare texts, give a list: '[")
    refused(["simple,a {}"], """to compare several, give a list: '["simple", "a {}"]'""")
    refused(["simple", "simple"], "the set simple is asked for twice")
    refused(["a {}" + "x" * 10**5], "xxx' has 100004 letters: want at most 1000")
    for content, said in ((b"\n \n", "holds no templates"), (b"\xff\xfe{}", "not a text file")):
        path = tmp_path / "bad.txt"
        path.write_bytes(content)
        refused([str(path)], said)
    path.write_bytes(b"a {}\n" * 300_000)
    refused([str(path)], "over 1 MiB")


def test_a_mark_at_the_head_of_a_file_is_no_letter(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a photo of a {}.", encoding="utf-8-sig")
    assert texts(str(tmp_path / "mine.txt"), "dog") == ["a photo of a dog."]
