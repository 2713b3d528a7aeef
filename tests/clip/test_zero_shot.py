"""The classifier against open_clip's and clip-benchmark's own, on the same weights."""

import open_clip
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification as benchmark
from torch.nn import functional as F

from hw2.clip.prompts import prompt_sets
from hw2.clip.zero_shot import class_embeddings, rank
from tests.clip.small import MODEL_CFG, NAMES, lively_clip


@pytest.fixture(scope="module")
def model() -> open_clip.CLIP:
    return lively_clip()


@pytest.fixture(scope="module")
def tokenize() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])


@pytest.mark.parametrize("entry", ["simple", "cifar", "imagenet"])
def test_equal_to_open_clips_classifier(
    entry: str, model: open_clip.CLIP, tokenize: open_clip.SimpleTokenizer
) -> None:
    chosen = prompt_sets([entry], [False])[0]
    ours = class_embeddings(model, tokenize, chosen.prompts(NAMES))
    theirs = open_clip.build_zero_shot_classifier(model, tokenize, NAMES, chosen.templates)
    torch.testing.assert_close(ours, theirs.T, rtol=0, atol=1e-6)
    assert float((ours @ ours.T - torch.eye(len(NAMES))).abs().max()) > 1e-3


def test_equal_to_clip_benchmarks_predictions(
    model: open_clip.CLIP, tokenize: open_clip.SimpleTokenizer
) -> None:
    chosen = prompt_sets(["imagenet7"], [False])[0]
    side = MODEL_CFG["vision_cfg"]["image_size"]
    pictures = torch.randn(40, 3, side, side, generator=torch.Generator().manual_seed(0))
    templates = [text.replace("{}", "{c}") for text in chosen.templates]
    classifier = benchmark.zero_shot_classifier(
        model, tokenize, list(NAMES), templates, "cpu", amp=False
    )
    loader = [(pictures, torch.arange(40) % len(NAMES))]
    logits, _ = benchmark.run_classification(model, classifier, loader, "cpu", amp=False)
    with torch.no_grad():
        found = F.normalize(model.encode_image(pictures), dim=-1)
    classes = class_embeddings(model, tokenize, chosen.prompts(NAMES))
    ranking = rank(found, classes, scale=100.0)  # clip-benchmark's temperature
    want = logits.softmax(1).topk(5)
    torch.testing.assert_close(ranking.probabilities, want.values, rtol=1e-4, atol=1e-6)
    assert torch.equal(ranking.classes, want.indices)


def test_classes_of_different_numbers_of_prompts(
    model: open_clip.CLIP, tokenize: open_clip.SimpleTokenizer
) -> None:
    both = class_embeddings(model, tokenize, [["a dog"], ["a cat", "one cat"]])
    alone = class_embeddings(model, tokenize, [["a cat", "one cat"]])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-6)


def test_fewer_classes_than_five() -> None:
    vectors = F.normalize(torch.randn(3, 8), dim=-1)
    ranking = rank(vectors, vectors, scale=50.0)
    assert ranking.classes.shape == (3, 3)
    assert ranking.classes[:, 0].tolist() == [0, 1, 2]
    torch.testing.assert_close(ranking.probabilities.sum(1), torch.ones(3))
