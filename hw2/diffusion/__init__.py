"""Class-conditional diffusion: tensors in, tensors out; no Ray, no MLflow, no files."""
