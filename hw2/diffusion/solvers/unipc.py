"""UniPC (Zhao et al. 2023), second order, from diffusers."""

from functools import partial

from diffusers import UniPCMultistepScheduler

from hw2.diffusion.diffusers_solver import diffusers_solver
from hw2.diffusion.samplers import Sampler

SAMPLER = Sampler(partial(diffusers_solver, UniPCMultistepScheduler))
