"""What each way brings; what `--separate` names: folders, files, files with another token."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hw2.data.concepts import Concept, refuse_shared_tokens
from hw2.errors import CheckpointError, ConfigError, DataError
from hw2.personalize.deltas import Deltas, base_hash, cross_attention_weights, save_deltas
from hw2.personalize.embeddings import TokenEmbedding, save_embedding
from hw2.personalize.inversion import EMBEDDING
from hw2.personalize.ways import MAX_TOKENS, Ways, hashes_of, read_ways
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


def test_a_folder_of_another_job_is_told(tmp_path: Path) -> None:
    config = GenerateConceptsConfig(out=tmp_path / "out", separate=(str(tmp_path),))
    with pytest.raises(CheckpointError, match=f"^separate={tmp_path}: has no {EMBEDDING}: .*joint"):
        read_ways(config, tiny_model(), {})


def test_two_files_of_one_token_are_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_embedding(tmp_path / name, TokenEmbedding("<new1>", torch.ones(WIDTH)), {})
    files = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    config = GenerateConceptsConfig(out=tmp_path / "out", separate=tuple(files))
    with pytest.raises(ConfigError, match=f"^separate={files[1]}: <new1> is in another file"):
        read_ways(config, tiny_model(), {})


def test_a_small_file_of_many_tokens_is_refused(tmp_path: Path) -> None:
    """Their rows are one in the file; to add them all would take hours."""
    row, path = torch.ones(WIDTH), tmp_path / "tokens.bin"
    config = GenerateConceptsConfig(out=tmp_path / "out", separate=(str(path),))
    torch.save({f"<{number}>": row for number in range(MAX_TOKENS)}, path)
    assert len(read_ways(config, tiny_model(), {})["separate"].rows) == MAX_TOKENS
    torch.save({f"<{number}>": row for number in range(MAX_TOKENS + 1)}, path)
    with pytest.raises(CheckpointError, match=r"^separate: its files bring 1001 tokens, over the"):
        read_ways(config, tiny_model(), {})


def about(source: str, token: str, word: str | None) -> Concept:
    return Concept(source, (), token, (), (), (), initializer_token=word)


def test_before_the_training_a_token_is_its_word(tmp_path: Path) -> None:
    model = tiny_model()
    config = GenerateConceptsConfig(out=tmp_path / "out", untrained=True)
    concepts = {"0": about("0", "<new1>", "dog"), "1": about("1", "<new2>", "cup")}
    rows = read_ways(config, model, concepts)["untrained"].rows
    words = model.tokenizer("dog cup", add_special_tokens=False).input_ids
    assert list(rows) == ["<new1>", "<new2>"] and len(words) == 2
    for row, word in zip(rows.values(), words, strict=True):
        assert torch.equal(row, model.token_table.weight[word])
    with pytest.raises(ConfigError, match="sources 0 and 1 are both called <new1>"):
        read_ways(config, model, concepts | {"1": about("1", "<new1>", "cup")})
    with pytest.raises(DataError, match=r'source 1 names no initializer_token: .* add "init'):
        read_ways(config, model, concepts | {"1": about("1", "<new2>", None)})


def test_each_way_is_of_its_own_folder_and_hashed_whole(tmp_path: Path) -> None:
    model = tiny_model()
    weights = cross_attention_weights(model.unet)
    base = base_hash(model.unet, model.text_encoder)
    one = Deltas(base, weights, {"<new1>": torch.ones(WIDTH)}, {"step": 400})
    moved = {name: weight + 1 for name, weight in weights.items()}
    made = {"one": one, "row": replace(one, rows={"<new1>": torch.zeros(WIDTH)})}
    made |= {"merge": replace(one, about={}), "weights": replace(one, weights=moved, about={})}
    for name, learnt in made.items():
        save_deltas(tmp_path / name, learnt, weights)

    def read(joint: str, merged: str) -> Ways:
        folders = {"joint": tmp_path / joint, "merged": tmp_path / merged}
        return read_ways(GenerateConceptsConfig(out=tmp_path / "out", **folders), model, {})

    ways = read("one", "weights")
    assert list(ways) == ["joint", "merged"]
    for way, name in (("joint", "one"), ("merged", "weights")):
        assert all(torch.equal(v, made[name].weights[k]) for k, v in ways[way].weights.items())
    sums = hashes_of(ways, {}) | {"row": hashes_of(read("row", "merge"), {})["joint"]}
    assert len(set(sums.values())) == 3
    assert hashes_of({}, {"0": about("0", "<new1>", "dog")}).keys() == {"concept.0"}
    for folders, told in (
        (("merge", "weights"), "joint=.*: made by jobs.merge_concepts: give it to --merged"),
        (("one", "row"), "merged=.*: made by jobs.custom_diffusion: give it to --joint"),
    ):
        with pytest.raises(ConfigError, match=told):
            read(*folders)


def test_two_concepts_of_one_name_are_not_drawn_together() -> None:
    def called(source: str, token: str) -> Concept:
        return Concept(source, (), token, (), (), ())

    refuse_shared_tokens({"0": called("0", "<new1>"), "1": called("1", "<new2>")})
    with pytest.raises(ConfigError, match="sources 0 and 2 are both called <NEW1>: give each a"):
        refuse_shared_tokens({"0": called("0", "<new1>"), "2": called("2", "<NEW1>")})
