"""The network is open_clip's, its weights are the seed's."""

import open_clip
import torch
from torch.testing import assert_close

from hw2.models.clip import build_clip, clip_tokenizer
from hw2.settings.clip import ClipNetworkConfig, TextConfig, VisionConfig

TINY = ClipNetworkConfig(
    embed_dim=8, vision=VisionConfig(width=64, layers=1), text=TextConfig(width=8, layers=1)
).model_cfg()


def test_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one, two, other = (build_clip(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], two[key]) for key in one)
    drawn = ("visual.conv1.weight", "token_embedding.weight", "text_projection")
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


def test_forward_gives_unit_embeddings_and_clips_first_temperature() -> None:
    net = build_clip(TINY, 0).eval()
    tokens = clip_tokenizer(TINY)(["a photo of red brick.", "gravel"])
    with torch.no_grad():
        images, texts, scale = net(torch.rand(2, 3, 32, 32), tokens)
    assert images.shape == texts.shape == (2, 8)
    for rows in (images, texts):
        assert_close(rows.norm(dim=1), torch.ones(2))
    assert_close(float(scale), 1 / 0.07)


def test_the_tokenizer_is_clips_own_but_shorter() -> None:
    texts = ["a photo of red brick.", "Handwriting in GREY", "a " * 40]
    theirs = open_clip.get_tokenizer("ViT-B-32", context_length=16)(texts)
    ours = clip_tokenizer(TINY)(texts)
    assert ours.shape == (3, 16)
    assert torch.equal(ours, theirs)


def test_the_default_is_small_enough_to_be_released() -> None:
    net = build_clip(ClipNetworkConfig().model_cfg(), 0)
    assert sum(value.numel() for value in net.state_dict().values()) * 2 < 5 * 2**20
