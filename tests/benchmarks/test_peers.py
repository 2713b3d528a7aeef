"""Training and drawing against peers."""

from pathlib import Path

import pytest
import torch
from reference_recipe import BATCH, LABEL_DROPOUT, NUM_TIMESTEPS, RATE, ContextUnet, ReferenceRecipe

from tests.benchmarks.conftest import Run


def test_the_reference_recipe_is_as_published() -> None:
    assert (NUM_TIMESTEPS, BATCH, RATE, LABEL_DROPOUT) == (400, 256, 1e-4, 0.1)
    betas = ReferenceRecipe(16).schedule.betas
    assert betas[0] == pytest.approx(1e-4)
    assert betas[-1] == pytest.approx(0.02)
    net = ContextUnet(width=16, num_classes=20).eval()
    x, t = torch.randn(1, 3, 28, 28).repeat(2, 1, 1, 1), torch.full((2,), 0.5)
    with torch.no_grad():
        first, second = net(x, torch.tensor([3, 20]), t)
    assert not torch.equal(first, second)  # 20 is no class


def test_the_reference_recipe_learns() -> None:
    torch.manual_seed(0)
    recipe = ReferenceRecipe(16)
    pictures, labels = torch.full((8, 3, 28, 28), 255.0), torch.zeros(8).long()
    before = recipe.net.leave[3].weight.clone()
    recipe.step(pictures, labels, left=1.0)
    moved = recipe.net.leave[3].weight - before
    assert 0 < moved.abs().max() <= 1.01 * RATE  # Adam's first step is the rate
    recipe.step(pictures, labels, left=0.0)
    torch.testing.assert_close(recipe.net.leave[3].weight - before, moved)


def test_drawing(run: Run, digits_tree: Path) -> None:
    sizes = ["--pictures", 2, "--slow_pictures", 2, "--steps", 0.01, "--noises", 1]
    *sides, loop = run("drawing_peers", *sizes, "--pairs", 1, "--data", digits_tree)
    calls = {row["side"]: row["calls a picture"] for row in sides}
    assert calls["ancestral"] == 2 * 4  # steps, each with the doubled batch
    assert {calls[side] for side in calls if side != "ancestral"} == {3, 4}
    assert next(iter(calls)) == "ours"
    for row in sides:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert row["pictures"] == 20
        assert row["core-s for 1000"] > 0
    assert loop["side"] == "our loop / its network calls"
    assert loop["value"] > 0


@pytest.mark.slow
def test_training(run: Run, digits_tree: Path) -> None:
    sizes = ["--core_seconds", 0.1, "--reads", 1, "--noises", 1, "--peer_noises", 1]
    sizes += ["--rounds", 1, "--width", 16, "--data", digits_tree, "--peer_steps", 2]
    ours = ["--ours", "train.checkpoint_every", 1, "sample.num_inference_steps", 2]
    rows = {row["recipe"]: row for row in run("training_peers", *sizes, *ours)}
    for side in ("ours", "reference", "package"):
        assert 0 <= rows[side]["low"] <= rows[side]["value"] <= rows[side]["high"] <= 1
        assert rows[side]["pictures/core-s"] > 0
        assert rows[side]["core-s"] >= 0.1
        assert "core-s to 80%" in rows[side]
    assert rows["pace: ours / floor"]["value"] > 0
