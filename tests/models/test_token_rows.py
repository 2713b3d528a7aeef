"""Further rows beside a table against one longer table."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hw2.models.token_rows import TokenRows

TABLE, NEW = torch.randn(7, 4), torch.randn(2, 4)
TOKENS = torch.tensor([[0, 6, 7], [8, 8, 3]])


def test_is_one_longer_table() -> None:
    rows = TokenRows(nn.Embedding.from_pretrained(TABLE), NEW)
    assert torch.equal(rows(TOKENS), torch.cat([TABLE, NEW])[TOKENS])
    assert torch.equal(
        TokenRows(nn.Embedding.from_pretrained(TABLE), NEW[:0])(TOKENS % 7), TABLE[TOKENS % 7]
    )


def test_only_the_rows_have_a_gradient() -> None:
    table = nn.Embedding(7, 4)
    rows = TokenRows(table, NEW)
    assert [name for name, p in rows.named_parameters() if p.requires_grad] == ["rows"]
    rows(TOKENS).square().sum().backward()
    assert table.weight.grad is None
    whole = torch.cat([TABLE, NEW]).requires_grad_()
    whole[TOKENS].square().sum().backward()
    assert_close(rows.rows.grad, whole.grad[7:])


@pytest.mark.parametrize("count", [0, 2])
def test_a_token_beyond_the_rows_is_refused(count: int) -> None:
    rows = TokenRows(nn.Embedding(7, 4), NEW[:count])
    with pytest.raises(IndexError):
        rows(torch.tensor([7 + count]))


def test_the_rows_that_it_began_with_stay_as_they_were() -> None:
    before, rows = NEW.clone(), TokenRows(nn.Embedding(7, 4), NEW)
    rows.rows.data += 1
    assert torch.equal(NEW, before)
