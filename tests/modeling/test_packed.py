"""Rectangles to packed rows and back."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.modeling.packed import find_spans

MASKS = st.tuples(st.integers(0, 4), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.booleans(), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: torch.tensor(rows, dtype=torch.bool).reshape(shape))
)


@settings(max_examples=100)
@given(MASKS)
def test_what_is_packed_and_spread_comes_back(keep: torch.Tensor) -> None:
    values = torch.randn(*keep.shape, 2)
    spans = find_spans(keep, full=False)
    rows = spans.pick(values)
    assert len(rows) == sum(spans.lengths)
    back = spans.spread(rows)
    assert torch.equal(back[keep], values[keep])
    inside = back.any(-1)
    assert torch.equal(inside | keep, inside)
    if spans.holes is not None:
        rows = rows.masked_fill(spans.holes[:, None], 0.0)
    assert not spans.spread(rows)[~keep].any()


@settings(max_examples=50)
@given(MASKS)
def test_squares_stand_where_their_sequences_do(keep: torch.Tensor) -> None:
    spans = find_spans(keep, full=False)
    squares = [torch.ones(3, length, length) for length in spans.lengths]
    full = spans.spread_squares(squares, 3)
    width = keep.shape[1]
    assert full.shape == (len(keep), 3, width, width)
    columns = torch.arange(width)
    for row, square in zip(keep, full, strict=True):
        real = row.nonzero().flatten()
        inside = (columns >= real[0]) & (columns <= real[-1]) if len(real) else row
        assert torch.equal(square[1].bool(), inside[:, None] & inside[None, :])


def test_the_example_in_the_documentation() -> None:
    spans = find_spans(torch.tensor([[1, 1, 1, 0], [1, 1, 0, 1]]).bool(), full=False)
    assert spans.slots is not None
    assert spans.holes is not None
    assert spans.slots.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert list(spans.lengths) == [3, 4]
    assert spans.holes.int().tolist() == [0, 0, 0, 0, 0, 1, 0]
