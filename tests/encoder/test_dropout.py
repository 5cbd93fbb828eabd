"""Dropout: the share, the scale, the gradient, and torch's generator as the only source."""

import pytest
import torch

from spacy_deberta.encoder.dropout import Dropout, dropout

ROWS = torch.ones(401, 503)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_is_zero_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(0)
    found = dropout(ROWS, share)
    n_kept = int(found.count_nonzero())
    deviation = (ROWS.numel() * share * (1 - share)) ** 0.5
    assert abs(n_kept - (1 - share) * ROWS.numel()) < 5 * deviation
    kept = found[found != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - share)), rtol=1e-4, atol=0)


def test_neighbors_are_independent() -> None:
    """Four numbers come from one draw."""
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5) != 0).double() - 0.5
    for lag in range(1, 9):
        correlation = float((kept[:-lag] * kept[lag:]).mean()) / 0.25
        assert abs(correlation) < 5 / 400_000**0.5


def test_the_gradient_has_the_same_mask() -> None:
    rows = torch.rand(50, 7).add(1).requires_grad_()
    found = dropout(rows, 0.3)
    found.backward(torch.full_like(rows, 2.0))
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad * rows.detach(), 2 * found.detach())


def test_the_seed_decides() -> None:
    torch.manual_seed(3)
    first, second = dropout(ROWS, 0.5), dropout(ROWS, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(ROWS, 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_edges(dtype: torch.dtype) -> None:
    rows = torch.ones(3, 5, dtype=dtype)
    assert dropout(rows, 0.0) is rows
    assert dropout(rows, 0.5).dtype == dtype
    assert not dropout(rows, 1.0).any()
    assert dropout(rows[:0], 0.5).shape == (0, 5)


def test_the_module_drops_in_training_only() -> None:
    module = Dropout(0.5)
    assert module.eval()(ROWS) is ROWS
    assert not torch.equal(module.train()(ROWS), ROWS)
