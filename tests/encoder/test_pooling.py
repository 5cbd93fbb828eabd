"""Token rows from piece rows, against loops."""

import pytest
import torch

from spacy_deberta.encoder import POOLINGS, pool_rows
from spacy_deberta.errors import ConfigError
from tests import oracle

TOKENS = {
    "one-to-one": [[0], [1], [2]],
    "some-empty": [[], [3, 1, 4], [], [0], [5, 5], []],
    "all-empty": [[], []],
    "no-token": [],
}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("tokens", TOKENS.values(), ids=TOKENS)
def test_pooling_equals_the_loops_forward_and_backward(
    tokens: list[list[int]], pooling: str
) -> None:
    torch.manual_seed(0)
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([piece for token in tokens for piece in token], dtype=torch.int64)
    lengths = torch.tensor([len(token) for token in tokens], dtype=torch.int64)
    found = pool_rows(rows, index, lengths, pooling)
    assert found.shape == (len(tokens), 3)
    above = torch.randn_like(found)
    (gradient,) = torch.autograd.grad(found, rows, above)
    if not tokens:
        assert not gradient.any()
        return
    expected = oracle.pool(rows, tokens, pooling)
    torch.testing.assert_close(found, expected)
    if any(tokens):
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, rows, above)[0])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_token_without_pieces_ignores_rows_that_are_not_finite(pooling: str) -> None:
    rows = torch.tensor([[float("nan")], [2.0]])
    pooled = pool_rows(rows, torch.tensor([1]), torch.tensor([0, 1, 0]), pooling)
    assert pooled.tolist() == [[0.0], [2.0], [0.0]]


def test_unknown_pooling_is_refused_with_the_known_ones() -> None:
    rows, index, lengths = torch.ones(1, 2), torch.tensor([0]), torch.tensor([1])
    message = r"^pooling='median' is unknown; supported: mean, first, last, max, sum\.$"
    with pytest.raises(ConfigError, match=message):
        pool_rows(rows, index, lengths, "median")
