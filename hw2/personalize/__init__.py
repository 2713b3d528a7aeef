"""New concepts for a text-to-image model: inversion, Custom Diffusion, merge, grading."""
