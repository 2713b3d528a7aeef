"""An embedding table with further rows that can move while the table stands still."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F


class TokenRows(nn.Module):
    """`table` (n, width) as it is, and tokens n, n+1, .. from `rows` (k, width), a parameter.

    The table's own parameter is frozen, so that a training moves the rows alone (Gal et al. 2023,
    section 3); an optimiser over the whole table would decay the others.
    """

    def __init__(self, table: nn.Embedding, rows: Float[Tensor, "k width"]) -> None:
        super().__init__()
        self.table = table.requires_grad_(False)
        self.rows = nn.Parameter(rows.detach().clone())

    def forward(self, tokens: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        """The row of each token, 0 .. n + k - 1. Raises IndexError for another (on the CPU)."""
        if not len(self.rows):
            return self.table(tokens)
        size = self.table.num_embeddings
        known = self.table(tokens.clamp(max=size - 1))
        new = F.embedding((tokens - size).clamp(min=0), self.rows)
        return torch.where((tokens >= size)[..., None], new.to(known), known)
