"""Sweeps over settings: many cheap trials from the same noises, compared in pairs."""
