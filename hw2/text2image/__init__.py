"""A small text-to-image model of Stable Diffusion's kind: trained, loaded, drawn with."""
