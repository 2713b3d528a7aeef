"""Counted random numbers: the same whoever asks, different for every key, and never to change."""

import numpy as np
import torch
from scipy import stats
from torch.testing import assert_close

from hw2.diffusion.counter import (
    CounterRandom,
    DeviceRandom,
    Stream,
    permutation,
    random_for,
)


def test_grouping_of_samples_does_not_matter() -> None:
    whole = CounterRandom(3, 7, range(6))
    parts = [
        CounterRandom(3, 7, [0, 1]),
        CounterRandom(3, 7, [2]),
        CounterRandom(3, 7, range(3, 6)),
    ]
    for draw in (
        lambda r: r.normal(Stream.NOISE, 3, 5),
        lambda r: r.uniform(Stream.TIMESTEP),
        lambda r: r.integers(Stream.AUGMENT, 25),
    ):
        assert torch.equal(draw(whole), torch.cat([draw(part) for part in parts]))
    strided = CounterRandom(3, 7, range(1, 6, 2)).normal(Stream.NOISE, 3, 5)
    assert torch.equal(strided, whole.normal(Stream.NOISE, 3, 5)[1::2])


def test_asking_twice_gives_the_same() -> None:
    random = CounterRandom(0, 1, [4, 5])
    first = random.normal(Stream.NOISE, 8)
    random.uniform(Stream.TIMESTEP)
    assert torch.equal(first, random.normal(Stream.NOISE, 8))


def test_every_part_of_the_key_counts() -> None:
    keys = [(s, step, i) for s in (0, 1, 2**40) for step in (0, 1, 255) for i in (0, 1, 60_000)]
    streams = (Stream.NOISE, Stream.START, Stream.ANCESTRAL)
    rows = [CounterRandom(s, t, [i]).normal(k, 64)[0] for s, t, i in keys for k in streams]
    correlation = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert len(rows) == 81
    assert float(correlation.abs().max()) < 0.65  # of 3,240 pairs; an equal pair would have 1


def test_all_seeds_of_64_bits_differ() -> None:
    seeds = [0, 1, 2**53, 2**53 + 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]
    rows = [
        tuple(CounterRandom(seed, 0, [0]).normal(Stream.NOISE, 4)[0].tolist()) for seed in seeds
    ]
    orders = {tuple(permutation(seed, 0, 20)) for seed in seeds}
    assert len(set(rows)) == len(orders) == len(seeds)


CPU = torch.device("cpu")  # what a GPU does is told by the same code


def test_a_device_s_numbers_are_those_of_the_batch_whoever_asks() -> None:
    whole = DeviceRandom(3, 7, range(6), 6, CPU)
    for draw in (
        lambda r: r.normal(Stream.NOISE, 3, 5),
        lambda r: r.uniform(Stream.TIMESTEP),
        lambda r: r.integers(Stream.AUGMENT, 25),
    ):
        for samples in (range(2), range(2, 6), range(1, 6, 2), range(0)):
            part = DeviceRandom(3, 7, samples, 6, CPU)
            assert torch.equal(draw(part), draw(whole)[list(samples)])
        others = [DeviceRandom(seed, step, range(6), 6, CPU) for seed, step in ((4, 7), (3, 8))]
        assert not any(torch.equal(draw(whole), draw(other)) for other in others)
    assert not torch.equal(whole.uniform(Stream.TIMESTEP), whole.uniform(Stream.LABEL_DROPOUT))
    assert (
        stats.kstest(
            DeviceRandom(0, 1, range(400), 400, CPU).normal(Stream.NOISE, 50).flatten().numpy(),
            "norm",
        ).pvalue
        > 1e-3
    )


def test_a_gpu_makes_its_own_numbers() -> None:
    made = random_for(torch.device("cuda"), 0, 1, range(2, 4), 8)
    assert isinstance(made, DeviceRandom)
    assert list(made.samples) == [2, 3]
    assert not isinstance(random_for(CPU, 0, 1, range(2), 8), DeviceRandom)


def test_moments() -> None:
    random = CounterRandom(0, 1, range(4000))
    normal = random.normal(Stream.NOISE, 50).flatten().numpy()
    uniform = random.uniform(Stream.TIMESTEP).numpy()
    integers = random.integers(Stream.AUGMENT, 10).numpy()
    assert normal.dtype == uniform.dtype == np.float32
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.chisquare(np.bincount(integers, minlength=10)).pvalue > 1e-3


def test_permutation() -> None:
    one, two = permutation(5, 0, 1000), permutation(5, 1, 1000)
    assert np.array_equal(np.sort(one), np.arange(1000))
    assert np.array_equal(np.sort(two), np.arange(1000))
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, permutation(6, 0, 1000))
    assert np.array_equal(one, permutation(5, 0, 1000))


def test_streams_keep_their_numbers() -> None:
    """Golden values: a change here silently changes every run and every picture."""
    assert {stream.name: int(stream) for stream in Stream} == GOLDEN_STREAMS
    random = CounterRandom(12, 34, [56, 78])
    assert_close(random.normal(Stream.NOISE, 2), torch.tensor(GOLDEN_NORMAL))
    assert_close(random.uniform(Stream.TIMESTEP), torch.tensor(GOLDEN_UNIFORM))
    assert random.integers(Stream.AUGMENT, 1000).tolist() == GOLDEN_INTEGERS
    assert permutation(12, 3, 8).tolist() == GOLDEN_PERMUTATION


GOLDEN_STREAMS = {
    "TIMESTEP": 1,
    "NOISE": 2,
    "LABEL_DROPOUT": 3,
    "ORDER": 4,
    "START": 5,
    "ANCESTRAL": 6,
    "AUGMENT": 7,
    "SEARCH": 8,
    "CAPTION": 9,
}
GOLDEN_NORMAL = [
    [0.06614375859498978, 0.36210525035858154],
    [0.8600901961326599, -1.6669062376022339],
]
GOLDEN_UNIFORM = [0.9594424366950989, 0.16441500186920166]
GOLDEN_INTEGERS = [467, 685]
GOLDEN_PERMUTATION = [7, 4, 3, 2, 5, 1, 0, 6]
