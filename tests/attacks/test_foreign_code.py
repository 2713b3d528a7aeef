"""CLIP models that bring Python of their own: it never runs, whatever asks for it."""

import json
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
from open_clip import factory
from safetensors.torch import save_file

from hw2.clip.finding import find_clip
from hw2.clip.loading import load_clip
from hw2.clip.tokenizing import load_tokenizer
from hw2.errors import CheckpointError
from tests.clip.small import MODEL_CFG, lively_clip

TRUSTING = {"trust_remote_code": True}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose words and text network are in evil.py, which leaves a mark.

    Whoever is asked whether to run it says yes.
    """
    made, modules = tmp_path / "model", tmp_path / "modules"
    made.mkdir()
    (made / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    where = {"AutoTokenizer": ["evil.Evil", None], "AutoConfig": "evil.Evil"}
    (made / "tokenizer_config.json").write_text(json.dumps({"auto_map": where}))
    (made / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": where}))
    save_file(lively_clip().state_dict(), made / "open_clip_model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.setattr(sys, "path", [str(modules), *sys.path])
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    # What the hub would answer, by open_clip's own functions.
    monkeypatch.setattr(factory, "_get_hf_config", lambda *_, **__: json.loads(config_text(made)))
    monkeypatch.setattr(
        factory,
        "download_pretrained_from_hf",
        lambda *_, **__: str(made / "open_clip_model.safetensors"),
    )
    return made


def config_text(folder: Path) -> str:
    return (folder / "open_clip_config.json").read_text()


def write_config(folder: Path, **text: Any) -> None:
    config = MODEL_CFG | {"text_cfg": MODEL_CFG["text_cfg"] | text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))


@pytest.mark.parametrize("scheme", ["local-dir", "hf-hub"])
def test_tokenizers(scheme: str, folder: Path) -> None:
    mark, name = folder.parent / "executed", f"{scheme}:{folder}"
    trap = {"hf_tokenizer_name": str(folder), "tokenizer_kwargs": TRUSTING}
    for words in (TRUSTING, {"clean": "lower", "bpe_path": "/etc/passwd"}, {"cache_dir": "/"}):
        write_config(folder, **trap | {"tokenizer_kwargs": words})
        with pytest.raises(CheckpointError, match=r"tokenizer_kwargs '.*want clean, lang") as told:
            find_clip(name, None)
        assert "\n" not in str(told.value)

    for text in (trap | {"tokenizer_kwargs": {}}, {}):
        write_config(folder, **text)
        source = find_clip(name, None)  # the trap is put there when all has been looked at,
        for words in ({}, TRUSTING):  # or leaves the question to the user
            write_config(folder, **trap | {"tokenizer_kwargs": words})
            if text:
                with pytest.raises(CheckpointError, match="its tokenizer cannot be loaded"):
                    load_tokenizer(source)
            else:
                assert load_tokenizer(source)(["a dog"]).shape == (1, 12)
    assert not mark.exists()
    with pytest.raises(AttributeError):  # the trap is real: it has no class Evil, but has run
        open_clip.get_tokenizer(name)
    assert mark.exists()


def test_a_text_network(folder: Path) -> None:
    mark = folder.parent / "executed"
    write_config(folder, hf_model_name=str(folder))
    with pytest.raises(CheckpointError, match="its config describes no network"):
        load_clip(find_clip(f"local-dir:{folder}", None))
    assert not mark.exists()
    with pytest.raises(AttributeError):
        open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
    assert mark.exists()


def test_words_that_are_open_clip_s_own(folder: Path) -> None:
    write_config(folder, tokenizer_kwargs={"clean": "whitespace"})
    tokenize = load_tokenizer(find_clip(f"local-dir:{folder}", None))
    assert (tokenize(["A  dog"]) == open_clip.get_tokenizer(f"local-dir:{folder}")(["A dog"])).all()
    for known in open_clip.list_models():
        text = open_clip.get_model_config(known)["text_cfg"]
        write_config(folder, tokenizer_kwargs=text.get("tokenizer_kwargs", {}))
        find_clip(f"local-dir:{folder}", None)
