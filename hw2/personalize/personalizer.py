"""A base model that takes up and puts down what was learnt, without a second copy of it."""

import copy
import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from hw2.models.token_rows import TokenRows
from hw2.personalize.deltas import Deltas, apply_weights, cross_attention_weights
from hw2.personalize.tokens import add_token
from hw2.text2image.model import StableDiffusion


class Personalizer:
    """Changes `base` in place: its cross-attention weights, new tokens and their rows."""

    def __init__(self, base: StableDiffusion) -> None:
        self.base = base
        self.weights = {
            name: weight.detach().clone()
            for name, weight in cross_attention_weights(base.unet).items()
        }
        self.table = base.token_table

    def become(self, learnt: Deltas | None) -> StableDiffusion:
        """The base with what `learnt` brings; None: the base itself.

        Raises ConfigError for a token that the base has already.
        """
        weights, rows = (learnt.weights, learnt.rows) if learnt else ({}, {})
        apply_weights(self.base.unet, self.weights | weights)
        tokenizer = copy.deepcopy(self.base.tokenizer)
        for token in rows:
            add_token(tokenizer, token)
        self.base.text_encoder.set_input_embeddings(self._table(rows))
        return dataclasses.replace(self.base, tokenizer=tokenizer)

    def _table(self, rows: Mapping[str, Tensor]) -> torch.nn.Module:
        if not rows:
            return self.table
        new = torch.stack(list(rows.values())).to(self.table.weight)
        return TokenRows(self.table, new).requires_grad_(False)
