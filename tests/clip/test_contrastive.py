"""The objective beside open_clip's, beside loops in NumPy, and on two workers.

python -m tests.clip.test_contrastive OUT WORKERS     train with gloo workers
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import Tensor, nn
from torch.testing import assert_close

from hw2.checkpoint import CheckpointStore
from hw2.clip.contrastive import ContrastiveObjective, augmented, contrastive_loss
from hw2.data.batches import CaptionBatch, Shuffled
from hw2.diffusion.counter import CounterRandom
from hw2.gradients import Place
from hw2.settings.training import TrainConfig
from hw2.training import Training, train
from tests.jobs.command import ROOT

BATCH = 7


def unit(seed: int, *shape: int) -> Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.normalize(rows, dim=-1)


SCALE = torch.tensor(14.3, dtype=torch.float64)


def test_equals_open_clips_loss_where_all_captions_differ() -> None:
    from open_clip.loss import ClipLoss  # seconds, which the worker processes do not need

    images, texts = unit(0, 9, 5), unit(1, 9, 5)
    ours, _ = contrastive_loss(images, texts, torch.randperm(9), SCALE)
    assert_close(ours, ClipLoss()(images, texts, SCALE))


def test_equals_unicl_written_as_sums() -> None:
    """Yang et al. 2022, equations 2 to 4, row by row."""
    captions = np.array([3, 1, 3, 0, 3, 1])
    images, texts = unit(0, 6, 5), unit(1, 6, 5)
    products = np.exp(float(SCALE) * images.numpy() @ texts.numpy().T)
    total = 0.0
    for table in (products, products.T):
        for i in range(6):
            positives = [k for k in range(6) if captions[k] == captions[i]]
            terms = [np.log(table[i, k] / table[i].sum()) for k in positives]
            total -= sum(terms) / len(positives) / 6
    loss, right = contrastive_loss(images, texts, torch.tensor(captions), SCALE)
    assert float(loss) == pytest.approx(total / 2, rel=1e-10)
    best = captions[products.argmax(1)]
    assert float(right) == pytest.approx((best == captions).mean())


def test_augmentation_shifts_and_mirrors_by_the_sample_alone() -> None:
    pictures = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8).expand(64, -1, -1, -1)
    whole = augmented(pictures, CounterRandom(3, 5, range(64)))
    part = augmented(pictures[:9], CounterRandom(3, 5, range(20, 29)))
    assert torch.equal(whole[20:29], part)
    assert len({row.numpy().tobytes() for row in whole}) > 32
    centre = pictures[0, :, 8:24, 8:24].double() / 127.5 - 1
    kinds = set()
    for row in whole.double():
        for flip, candidate in enumerate((row, row.flip(2))):
            windows = candidate.unfold(1, 16, 1).unfold(2, 16, 1).movedim(0, 2)
            found = (windows - centre).abs().amax((2, 3, 4)) < 1e-6
            kinds |= {(flip, *place) for place in found.nonzero().tolist()}
    assert {flip for flip, *_ in kinds} == {0, 1}
    shifts = {place for _, *places in kinds for place in places}
    assert min(shifts) == 4 and max(shifts) == 12  # 4 either way of 8


def test_a_moved_picture_repeats_its_edges() -> None:
    pictures = torch.full((64, 3, 8, 8), 200, dtype=torch.uint8)
    moved = augmented(pictures, CounterRandom(3, 5, range(64)))
    assert_close(moved, torch.full_like(moved, 200 / 127.5 - 1))


class Towers(nn.Module):
    """Two linear towers in float64 that answer as open_clip's model does."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.picture, self.token = nn.Linear(3 * 64, 6), nn.Embedding(12, 6)
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        self.double()

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = (
            self.picture(images.to(self.picture.weight.dtype).flatten(1)),
            self.token(tokens).mean(1),
        )
        return *(nn.functional.normalize(row, dim=-1) for row in rows), self.logit_scale.exp()


def tiny_train(out: Path, place: Place) -> None:
    """Four steps of the one loop."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(0, 3, (20, 2), generator=generator)  # many captions are equal
    numbers = tokens.unique(dim=0, return_inverse=True)[1]
    settings = {"num_steps": 4, "batch_size": BATCH, "warmup_steps": 1, "precision": "fp32"}
    training = Training(
        Towers(),
        ContrastiveObjective(BATCH),
        Shuffled(CaptionBatch(images, tokens, numbers), seed=1),
        TrainConfig(**settings, clip_norm=1e-3),
        seed=1,
        out=out,
    )
    for _ in train(training, place):
        pass


def state(out: Path) -> dict[str, Tensor]:
    """What the last checkpoint holds."""
    found = CheckpointStore(out / "checkpoints").latest()
    assert found is not None and found.step == 4
    return found.tensors


def _worker(rank: int, world_size: int, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=world_size
    )
    tiny_train(Path(out), Place(rank, world_size))
    torch.distributed.destroy_process_group()


def test_two_workers_with_uneven_shares_train_as_one(tmp_path: Path) -> None:
    """Weights and both moments of the gradients; each worker alone sees 3 or 4 of 7 pictures."""
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "tests.clip.test_contrastive", str(tmp_path / "two"), "2"]
    subprocess.run(command, cwd=ROOT, check=True)
    tiny_train(tmp_path / "one", Place())
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    moments = [key for key in one if "exp_avg" in key]
    assert len(moments) == 8 and all(bool((one[key] != 0).any()) for key in moments)
    for key, value in one.items():
        assert_close(two[key], value, rtol=1e-9, atol=1e-12, msg=key)


def test_the_scale_is_clamped_and_float32_under_bf16() -> None:
    net = Towers().float()
    nn.init.constant_(net.logit_scale, 10.0)
    images = torch.randint(0, 256, (BATCH, 3, 8, 8), dtype=torch.uint8)
    batch = CaptionBatch(images, torch.randint(0, 12, (BATCH, 2)), torch.arange(BATCH))
    with torch.autocast("cpu", torch.bfloat16):
        loss, more = ContrastiveObjective(BATCH)(net, batch, CounterRandom(0, 1, range(BATCH)))
    assert float(more["logit_scale"]) == 100
    assert loss.dtype == torch.float32


if __name__ == "__main__":
    workers = int(sys.argv[2])
    torch.multiprocessing.start_processes(
        _worker, (workers, sys.argv[1]), workers, start_method="fork"
    )
