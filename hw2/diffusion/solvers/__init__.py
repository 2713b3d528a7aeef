"""A file a sampler, and the file's name is the sampler's: each ends with its SAMPLER."""
