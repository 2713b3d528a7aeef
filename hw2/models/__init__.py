"""Networks: of digits, faces, judges, CLIP and Stable Diffusion, and what they are made with."""
