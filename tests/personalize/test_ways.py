"""What `--separate` names: folders, files, and files with another token."""

from pathlib import Path

import pytest
import torch

from hw2.data.concepts import Concept
from hw2.errors import ConfigError
from hw2.personalize.embeddings import TokenEmbedding, save_embedding
from hw2.personalize.inversion import EMBEDDING
from hw2.personalize.ways import read_ways, refuse_shared_tokens
from hw2.settings.personalize import GenerateConceptsConfig
from tests.personalize.tiny import WIDTH, tiny_model


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ("lr=0.01", "<new1>"),
        (f"lr=0.01/{EMBEDDING}", "<new1>"),
        ("<new2>=lr=0.01", "<new2>"),
        (f"<new2>=lr=0.01/{EMBEDDING}", "<new2>"),
    ],
)
def test_a_path_may_have_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, token: str
) -> None:
    (tmp_path / "lr=0.01").mkdir()
    save_embedding(
        tmp_path / "lr=0.01" / EMBEDDING, TokenEmbedding("<new1>", torch.ones(WIDTH)), {}
    )
    monkeypatch.chdir(tmp_path)
    config = GenerateConceptsConfig(out=tmp_path / "out", separate=(given,))
    assert list(read_ways(config, tiny_model(), {})["separate"].rows) == [token]


def test_two_concepts_of_one_name_are_not_drawn_together() -> None:
    def called(source: str, token: str) -> Concept:
        return Concept(source, (), token, (), (), ())

    refuse_shared_tokens({"0": called("0", "<new1>"), "1": called("1", "<new2>")})
    with pytest.raises(ConfigError, match="sources 0 and 2 are both called <NEW1>: give each a"):
        refuse_shared_tokens({"0": called("0", "<new1>"), "2": called("2", "<NEW1>")})
