"""Taking up and putting down what was learnt leaves the base as it was."""

import pytest
import torch

from hw2.errors import ConfigError
from hw2.personalize.deltas import Deltas, cross_attention_weights
from hw2.personalize.personalizer import Personalizer
from tests.personalize.tiny import learnt, tiny_model

PROMPT = ["a photo of a <new1>"]


def test_becomes_what_was_learnt_and_the_base_again() -> None:
    personalizer = Personalizer(tiny_model())
    before = {k: v.clone() for k, v in personalizer.base.unet.state_dict().items()}
    size = len(personalizer.base.tokenizer)
    first, second = (learnt(tiny_model(), f"<new{n}>", n) for n in (1, 2))

    model = personalizer.become(first)
    for name, weight in cross_attention_weights(model.unet).items():
        assert torch.equal(weight, first.weights[name])
    ids = model.tokens(PROMPT)
    assert size in ids and torch.equal(
        model.text_encoder.get_input_embeddings()(torch.tensor([size]))[0], first.rows["<new1>"]
    )
    told = model.features(ids)

    other = personalizer.become(second)
    assert other.tokenizer.convert_tokens_to_ids("<new2>") == size
    assert "<new1>" not in other.tokenizer.get_vocab()
    assert torch.equal(personalizer.become(first).features(ids), told)

    base = personalizer.become(None)
    assert len(base.tokenizer) == size and base.token_table is personalizer.table
    assert all(torch.equal(v, before[k]) for k, v in base.unet.state_dict().items())


def test_rows_alone_leave_the_weights() -> None:
    personalizer = Personalizer(tiny_model())
    model = personalizer.become(Deltas("", {}, learnt(tiny_model(), "<new1>", 1).rows, {}))
    for name, weight in cross_attention_weights(model.unet).items():
        assert torch.equal(weight, personalizer.weights[name])
    assert len(model.tokens(PROMPT)[0].unique()) > 2


def test_a_token_of_the_base_is_refused() -> None:
    with pytest.raises(ConfigError, match="red"):
        Personalizer(tiny_model()).become(Deltas("", {}, {"red": torch.zeros(32)}, {}))
