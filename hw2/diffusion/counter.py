"""Random numbers from counters: each depends on its key alone, never on who draws it or when.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a key and a
counter to bits without any state, so sample 7 of step 1000 is the same number on one worker and
on eight, before and after a restart.
"""

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor


class Stream(enum.IntEnum):
    """What a number is for; two purposes never share numbers."""

    TIMESTEP = 1
    NOISE = 2
    LABEL_DROPOUT = 3
    ORDER = 4
    START = 5
    ANCESTRAL = 6
    AUGMENT = 7
    SEARCH = 8
    CAPTION = 9


def _philox(seed: int, stream: Stream, step: int, sample: int = 0) -> np.random.Philox:
    """Bits that the four decide; the first word of the counter counts them off."""
    return np.random.Philox(key=seed, counter=[0, stream, step, sample])


class CounterRandom:
    """Numbers for the samples `samples` of step `step` under `seed`, one row a sample.

    Calling a method twice with the same stream gives the same numbers: each (seed, step, sample,
    stream) has its own sequence, always read from the beginning.
    """

    def __init__(self, seed: int, step: int, samples: Sequence[int]) -> None:
        self.seed, self.step, self.samples = seed, step, samples

    def _generators(self, stream: Stream) -> list[np.random.Generator]:
        bits = (_philox(self.seed, stream, self.step, sample) for sample in self.samples)
        return [np.random.Generator(own) for own in bits]

    def normal(self, stream: Stream, *shape: int) -> Float32[Tensor, "..."]:
        """Standard normal numbers, (len(samples), *shape) float32."""
        out = np.empty((len(self.samples), *shape), dtype=np.float32)
        for row, generator in zip(out, self._generators(stream), strict=True):
            generator.standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(out)

    def uniform(self, stream: Stream) -> Float32[Tensor, " b"]:
        """Uniform numbers in [0, 1), (len(samples),) float32."""
        draws = [generator.random(dtype=np.float32) for generator in self._generators(stream)]
        return torch.tensor(np.array(draws, dtype=np.float32))

    def integers(self, stream: Stream, high: int) -> Int64[Tensor, " b"]:
        """Uniform integers in [0, high), (len(samples),) int64."""
        draws = [int(generator.integers(high)) for generator in self._generators(stream)]
        return torch.tensor(draws, dtype=torch.int64)


class DeviceRandom(CounterRandom):
    """The same for a training on a GPU, which would wait for numbers made on the processor.

    torch's generator on `device`, with a seed from Philox's counter (seed, step, stream), fills the
    batch of `batch_size` samples, of which the rows `samples` are taken: alike on one worker and on
    eight, on GPUs of one kind. They are other numbers than CounterRandom's.
    """

    def __init__(
        self, seed: int, step: int, samples: range, batch_size: int, device: torch.device
    ) -> None:
        super().__init__(seed, step, samples)
        self.rows = slice(samples.start, samples.stop, samples.step)
        self.batch_size, self.device = batch_size, device

    def _there(self, stream: Stream) -> dict[str, Any]:
        """What torch's makers of numbers are told: their device, and its generator."""
        bits = _philox(self.seed, stream, self.step).random_raw()
        generator = torch.Generator(self.device).manual_seed(int(bits))
        return {"generator": generator, "device": self.device}

    def normal(self, stream: Stream, *shape: int) -> Float32[Tensor, "..."]:
        """Standard normal numbers, (len(samples), *shape) float32."""
        return torch.randn(self.batch_size, *shape, **self._there(stream))[self.rows]

    def uniform(self, stream: Stream) -> Float32[Tensor, " b"]:
        """Uniform numbers in [0, 1), (len(samples),) float32."""
        return torch.rand(self.batch_size, **self._there(stream))[self.rows]

    def integers(self, stream: Stream, high: int) -> Int64[Tensor, " b"]:
        """Uniform integers in [0, high), (len(samples),) int64."""
        return torch.randint(high, (self.batch_size,), **self._there(stream))[self.rows]


def random_for(
    device: torch.device, seed: int, step: int, samples: range, batch_size: int
) -> CounterRandom:
    """The numbers of a training on `device`: a GPU makes its own."""
    if device.type == "cpu":
        return CounterRandom(seed, step, samples)
    return DeviceRandom(seed, step, samples, batch_size, device)


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which epoch `epoch` visits `size` samples, (size,) int64."""
    return np.random.Generator(_philox(seed, Stream.ORDER, epoch)).permutation(size)
