"""Which pictures and captions a step shows."""

from collections import Counter
from itertools import product

import torch

from hw2.personalize.batches import Captioned, ConceptSource


def concept(name: int, pictures: int = 3, views: int = 2, captions: int = 4) -> Captioned:
    """Latents whose numbers say concept, picture and view."""
    place = torch.arange(pictures * views).view(pictures, views, 1, 1, 1).float()
    tokens = torch.arange(captions)[:, None] + 100 * name
    return Captioned(place + 1000 * name, tokens)


def shown(source: ConceptSource, steps: int = 30, size: int = 8) -> list[tuple[int, int, float]]:
    found = []
    for step in range(1, steps + 1):
        batch = source.batch(step, range(size), size)
        numbers = batch.latents.flatten().int().tolist(), batch.tokens.flatten().tolist()
        found += zip(*numbers, batch.shares.tolist(), strict=True)
    return found


def test_concepts_take_turns_and_all_pictures_views_and_captions_are_shown() -> None:
    rows = shown(ConceptSource([concept(0), concept(1)], seed=0))
    assert [latent // 1000 for latent, _, _ in rows] == [0, 1] * 120
    assert all(token // 100 == latent // 1000 and share == 1 for latent, token, share in rows)
    views = Counter(latent for latent, _, _ in rows)
    assert set(views) == {*range(6), *range(1000, 1006)} and min(views.values()) > 8
    # Each picture is as often shown as any other, in epochs.
    pictures = Counter(latent // 2 for latent in views.elements())
    assert set(pictures.values()) == {40}
    # And each view of it stands under each caption.
    shown_as = {(latent // 1000, latent % 2, token % 100) for latent, token, _ in rows}
    assert shown_as == set(product(range(2), range(2), range(4)))


def test_priors_are_every_other_sample_with_their_own_captions_and_weight() -> None:
    prior = concept(5, pictures=10, captions=10)
    prior = Captioned(prior.latents, prior.tokens, own=True)
    rows = shown(ConceptSource([concept(0), concept(1)], 0, [prior], prior_weight=3.0))
    assert [latent // 1000 for latent, _, _ in rows] == [0, 5, 1, 5] * 60
    assert {share for _, token, share in rows if token // 100 == 5} == {1.5}
    assert {share for _, token, share in rows if token // 100 != 5} == {0.5}
    assert all(token - 500 == (latent - 5000) // 2 for latent, token, _ in rows if latent >= 5000)


def test_a_batch_is_the_same_whoever_asks_for_which_part() -> None:
    source = ConceptSource([concept(0), concept(1)], 7, [concept(2)])
    whole = source.batch(5, range(8), 8)
    parts = [
        ConceptSource([concept(0), concept(1)], 7, [concept(2)]).batch(5, [k], 8) for k in range(8)
    ]
    for field, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(field, torch.cat(pieces))
