"""The softmax that chooses its way by the row's length, against float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.encoder.fast.softmax import softmax

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 4e-3}


@given(
    length=st.integers(1, 140),
    n_blocked=st.integers(0, 139),
    scale=st.sampled_from([1.0, 30.0]),
    dtype=st.sampled_from(list(TOLERANCES)),
)
def test_every_length_equals_float64(
    length: int, n_blocked: int, scale: float, dtype: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(length)
    scores = (scale * torch.randn(2, 3, length, generator=draw)).to(dtype)
    scores[..., length - min(n_blocked, length - 1) :] = float("-inf")
    expected = scores.double().softmax(-1)

    found = softmax(scores)

    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=TOLERANCES[dtype])


@pytest.mark.parametrize("length", [3, 16, 20, 64])
def test_large_scores_do_not_overflow(length: int) -> None:
    scores = torch.full((2, length), 3e38)
    torch.testing.assert_close(softmax(scores), torch.full((2, length), 1 / length))
