"""DPM-Solver++ (Lu et al. 2022), second order, from diffusers."""

from functools import partial

from diffusers import DPMSolverMultistepScheduler

from hw2.diffusion.diffusers_solver import diffusers_solver
from hw2.diffusion.samplers import Sampler

SAMPLER = Sampler(partial(diffusers_solver, DPMSolverMultistepScheduler))
