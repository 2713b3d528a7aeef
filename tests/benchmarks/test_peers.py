"""Training and drawing against peers."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from reference_recipe import (
    BATCH,
    LABEL_DROPOUT,
    NUM_EPOCHS,
    NUM_TIMESTEPS,
    RATE,
    ContextUnet,
    ReferenceRecipe,
)
from training_recipes import Package, Peer, Reference

from tests.benchmarks.conftest import Run


def test_the_reference_recipe_is_as_published() -> None:
    assert (NUM_TIMESTEPS, BATCH, RATE, LABEL_DROPOUT) == (400, 256, 1e-4, 0.1)
    assert NUM_EPOCHS == 20
    betas = ReferenceRecipe(16).schedule.betas
    assert betas[0] == pytest.approx(1e-4)
    assert betas[-1] == pytest.approx(0.02)
    net = ContextUnet(width=16).eval()
    x, t = torch.randn(1, 3, 28, 28).repeat(2, 1, 1, 1), torch.full((2,), 0.5)
    with torch.no_grad():
        first, second = net(x, torch.tensor([3, 20]), t)
    assert not torch.equal(first, second)  # 20 is no class


def test_the_reference_recipe_learns() -> None:
    torch.manual_seed(0)
    recipe = ReferenceRecipe(16)
    pictures, labels = torch.ones(8, 3, 28, 28), torch.zeros(8).long()
    before = recipe.net.leave[3].weight.clone()
    recipe.step(pictures, labels, epoch=0)
    moved = recipe.net.leave[3].weight - before
    assert 0 < moved.abs().max() <= 1.01 * RATE  # Adam's first step is the rate
    recipe.step(pictures, labels, epoch=NUM_EPOCHS)
    torch.testing.assert_close(recipe.net.leave[3].weight - before, moved)


@pytest.mark.parametrize("side", [Reference, Package])
def test_a_peer_is_given_pictures_in_the_unit_that_it_wants(
    side: type[Peer], digits_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Namespace(data=digits_tree, peer_steps=1, device="cpu", width=16)
    peer, seen = side(told, digits_tree), []
    monkeypatch.setattr(peer, "learn", lambda pictures, labels: seen.append(pictures))
    assert peer.advance() == len(seen[0]) == peer.batch
    assert 0 <= seen[0].min() < 0.1
    assert 0.9 < seen[0].max() <= 1
    assert 0.2 < seen[0].mean() < 0.8


def test_the_reference_recipe_trains_on_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, seen = ReferenceRecipe(16), []
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # no noise: xt is a x0
    recipe.net.register_forward_pre_hook(lambda net, told: seen.append(told))
    recipe.step(torch.ones(32, 3, 28, 28), torch.zeros(32).long(), epoch=0)
    (xt, _, time), t = seen[0], (seen[0][2] * NUM_TIMESTEPS - 1).round().long()
    a, _ = recipe.schedule.signal_and_noise(t, xt)
    torch.testing.assert_close(xt, a.expand_as(xt))
    assert 0 < time.min() <= time.max() <= 1


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
