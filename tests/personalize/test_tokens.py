"""Words of a tokenizer: what can be added, what a prompt may hold."""

import pytest
from transformers import CLIPTokenizer

from hw2.errors import ConfigError
from hw2.personalize.tokens import (
    add_token,
    initializer_id,
    rename_clashing,
)
from hw2.text2image.prompts import check_prompt
from hw2.text2image.vocabulary import small_tokenizer
from tests.personalize.tiny import CAPTIONS, CONTEXT


@pytest.fixture
def tokenizer() -> CLIPTokenizer:
    return small_tokenizer(CAPTIONS, 100, CONTEXT)


def test_an_added_token_is_one_token_at_the_end_wherever_it_stands(
    tokenizer: CLIPTokenizer,
) -> None:
    before = len(tokenizer)
    assert len(tokenizer.tokenize("<new1>")) > 1
    assert add_token(tokenizer, "<new1>") == before
    assert add_token(tokenizer, "<new2>") == before + 1
    ids = tokenizer("a <new2>, <new1> and a dog", add_special_tokens=False).input_ids
    assert [i for i in ids if i >= before] == [before + 1, before]


@pytest.mark.parametrize(
    "token", ["", " ", "<new 1>", "<new\n>", "<new\u00a01>", "<\x00>", "\u200b"]
)
def test_a_token_is_one_printable_word(tokenizer: CLIPTokenizer, token: str) -> None:
    with pytest.raises(ConfigError, match="one word of printable characters"):
        add_token(tokenizer, token)


@pytest.mark.parametrize("token", ["dog", "Dog", "<|endoftext|>", "*", "<new1>", "<NEW1>"])
def test_a_token_that_is_there_is_refused(tokenizer: CLIPTokenizer, token: str) -> None:
    add_token(tokenizer, "<new1>")
    size = len(tokenizer)
    with pytest.raises(ConfigError, match="already in the vocabulary: choose another token_name"):
        add_token(tokenizer, token)
    assert len(tokenizer) == size


def test_initializer(tokenizer: CLIPTokenizer) -> None:
    assert initializer_id(tokenizer, "dog") == tokenizer.get_vocab()["dog</w>"]
    with pytest.raises(ConfigError) as refused:
        initializer_id(tokenizer, "motorcycle helmet")
    assert str(refused.value) == (
        "initializer_token='motorcycle helmet' is 2 tokens (motorcycle, helmet): "
        "give a word that is one token of this model (docs/personalization.md: the small one's)"
    )
    with pytest.raises(ConfigError, match="is 0 tokens"):
        initializer_id(tokenizer, " ")


def test_prompts(tokenizer: CLIPTokenizer) -> None:
    with pytest.raises(ConfigError, match=r"<dog1> is no token: none was added"):
        check_prompt(tokenizer, "a <dog1>")
    add_token(tokenizer, "<dog1>")
    add_token(tokenizer, "<style2>")
    check_prompt(tokenizer, "a <dog1> in the style of <style2>, 1 < 2 and 3 > 2")
    check_prompt(tokenizer, "a <Dog1>")  # found in lowered text, by CLIP's rule
    with pytest.raises(ConfigError, match=r"<dog2> is no token: did you mean <dog1>\? added are"):
        check_prompt(tokenizer, "a <dog1> and a <dog2>")
    with pytest.raises(ConfigError, match=r"<zzz> is no token: added are <dog1>, <style2>"):
        check_prompt(tokenizer, "a <zzz>")


def test_a_prompt_must_fit_to_the_token(tokenizer: CLIPTokenizer) -> None:
    check_prompt(tokenizer, " ".join(["dog"] * (CONTEXT - 2)))
    with pytest.raises(ConfigError, match=f"is {CONTEXT + 1} tokens .* reads {CONTEXT}"):
        check_prompt(tokenizer, " ".join(["dog"] * (CONTEXT - 1)))
    with pytest.raises(ConfigError, match=r"^.{80,200}$"):  # not the whole of it
        check_prompt(tokenizer, "dog " * 10**4)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (["<new1>", "<new2>"], ["<new1>", "<new2>"]),
        (["<new1>", "<new1>", "<new1>"], ["<new1>", "<new1_2>", "<new1_3>"]),
        (["<new1>", "<new1>", "<new1_2>"], ["<new1>", "<new1_3>", "<new1_2>"]),
        (["sks", "sks", "<New1>", "<new1>"], ["sks", "sks_2", "<New1>", "<new1_2>"]),
        ([], []),
    ],
)
def test_clashing_tokens_are_renamed(given: list[str], want: list[str]) -> None:
    assert rename_clashing(given) == want


def test_renamed_tokens_can_all_be_added(tokenizer: CLIPTokenizer) -> None:
    names = rename_clashing(["<a>", "<A>", "<a_2>", "<a>"])
    ids = [add_token(tokenizer, name) for name in names]
    assert tokenizer(" ".join(names), add_special_tokens=False).input_ids == ids
