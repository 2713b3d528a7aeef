"""On the released model: what textual inversion gains, beyond the intervals."""

from pathlib import Path

import pytest
import torch

from hw2.clip.finding import find_clip
from hw2.data.concept_tree import concepts_folder, write_concepts
from hw2.data.concepts import read_concepts
from hw2.figures.grid import to_pil
from hw2.metrics.concept_scores import image_scores
from hw2.metrics.intervals import bootstrap
from hw2.personalize.deltas import Deltas
from hw2.personalize.grading import Embedder
from hw2.personalize.inversion import inversion_training, learnt_rows
from hw2.personalize.personalizer import Personalizer
from hw2.settings.personalize import TextualInversionConfig
from hw2.settings.text2image import DrawSettings
from hw2.settings.training import TrainConfig
from hw2.text2image.drawing import draw
from hw2.text2image.loading import load_stable_diffusion
from tests.in_process import final, run_bare

SOURCE, COUNT = "0", 15
ROWS = "text_encoder.embeddings.token_embedding.rows"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_inversion_raises_the_image_score_of_a_kept_out_concept(tmp_path: Path) -> None:
    write_concepts(tmp_path, seed=0)
    config = TextualInversionConfig(
        out=tmp_path / "out",
        input=concepts_folder(tmp_path) / "input.json",
        source=SOURCE,
        templates="plain",
        train=TrainConfig(
            num_steps=50,
            batch_size=16,
            learning_rate=5e-3,
            weight_decay=0,
            warmup_steps=10,
            checkpoint_every=50,
        ),
    )
    training = inversion_training(config, tmp_path / "out")
    start = dict(training.net.named_parameters())[ROWS].detach().clone()
    run_bare(training)

    concept = read_concepts(config.input)[SOURCE]
    personalizer = Personalizer(load_stable_diffusion(config.model))
    embedder = Embedder(find_clip(None, None), torch.device("cpu"), 64)
    own = embedder.pictures(concept.pictures, lambda count: None)
    scores = []
    for name, row in (("untrained", start), ("trained", learnt_rows(final(training)))):
        model = personalizer.become(Deltas("", {}, {concept.token_name: row[0]}, {}))
        prompts = [concept.prompts[0]] * COUNT
        drawn = to_pil(draw(model, prompts, DrawSettings(), indices=range(COUNT), seed=0))
        paths = [tmp_path / f"{name}_{number}.png" for number in range(COUNT)]
        for picture, path in zip(drawn, paths, strict=True):
            picture.save(path)
        scores.append(image_scores(embedder.pictures(paths, lambda count: None), own))
    gain = bootstrap(scores[1] - scores[0], seed=0)
    print(f"{float(scores[0].mean()):.1f}, {float(scores[1].mean()):.1f}, {gain}")
    assert gain.low > 0
