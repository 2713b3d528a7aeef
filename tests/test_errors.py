"""Which of the known names a misspelt one is taken for."""

from collections.abc import Iterable

import pytest

from hw2.errors import nearest
from hw2.settings.faces import SampleFacesConfig
from hw2.settings.personalize import CustomDiffusionConfig

FACES = SampleFacesConfig.model_fields
DOTTED = ("train", "train.batch_size", "out", "scaling.num_workers", "scaling.use_gpu", "seed")


@pytest.mark.parametrize(
    ("word", "known", "want"),
    [
        ("unet", FACES, ""),  # half of its letters are in out
        ("weights", FACES, ""),
        ("moddel", FACES, "model"),
        ("Model", FACES, "model"),
        ("outdir", DOTTED, "out"),
        ("batch_size", DOTTED, "train.batch_size"),
        ("workers", DOTTED, "scaling.num_workers"),
        ("trian.batchsize", DOTTED, "train.batch_size"),
        ("gpu", DOTTED, "scaling.use_gpu"),
        ("input", DOTTED, ""),
        ("source", CustomDiffusionConfig.model_fields, "sources"),
        ("vitb32", ("RN50", "ViT-B-16", "ViT-B-32"), "ViT-B-32"),
        ("anything", (), ""),
    ],
)
def test_a_name_is_suggested_where_it_is_near(word: str, known: Iterable[str], want: str) -> None:
    assert nearest(word, known) == (f"did you mean {want}?" if want else "")
