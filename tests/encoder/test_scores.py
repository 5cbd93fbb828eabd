"""The formula itself, on numbers small enough to check by hand."""

import pytest
import torch

from spacy_deberta.encoder.fast.skew import skew
from spacy_deberta.encoder.scores import Relative, relative_bias, scaled_queries


def small_relative(*, c2p: bool, p2c: bool) -> Relative:
    """Three rows, one for each distance -1, 0, 1 of two pieces; row numbers as table values."""
    rows = torch.tensor([[[1.0], [10.0], [100.0]]])
    return Relative(rows if c2p else None, rows if p2c else None, torch.tensor([0, 1, 2]))


def test_index_counts_the_distance_from_key_to_query() -> None:
    """Row of i - j: the query behind the key reads the row above the middle."""
    index = small_relative(c2p=True, p2c=True).index(2)
    assert index.tolist() == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    ("c2p", "p2c", "expected"),
    [
        (True, False, [[20.0, 2.0], [300.0, 30.0]]),  # q_i x row(i - j)
        (False, True, [[50.0, 7.0], [500.0, 70.0]]),  # k_j x row(i - j), not row(j - i)
        (True, True, [[70.0, 9.0], [800.0, 100.0]]),
    ],
)
def test_bias_of_two_pieces_by_hand(c2p: bool, p2c: bool, expected: list[list[float]]) -> None:
    query, key = torch.tensor([[[[2.0], [3.0]]]]), torch.tensor([[[[5.0], [7.0]]]])
    bias = relative_bias(query, key, small_relative(c2p=c2p, p2c=p2c))
    assert bias[0, 0].tolist() == expected


def test_scale_reaches_the_query_side_of_the_table_only() -> None:
    scaled = scaled_queries(small_relative(c2p=True, p2c=True), 0.5)
    assert scaled.keys is not None
    assert scaled.queries is not None
    assert scaled.keys.flatten().tolist() == [1.0, 10.0, 100.0]
    assert scaled.queries.flatten().tolist() == [0.5, 5.0, 50.0]
    assert scaled_queries(small_relative(c2p=True, p2c=False), 0.5).queries is None


def test_skew_reads_the_diagonals_of_its_drawing() -> None:
    matrix = torch.arange(15.0).reshape(3, 5)
    assert skew(matrix).tolist() == [[2.0, 3.0, 4.0], [6.0, 7.0, 8.0], [10.0, 11.0, 12.0]]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_skew_works_on_views_and_its_gradient_is_right(length: int) -> None:
    """A slice has an offset into its storage, a transposed matrix is not contiguous."""
    whole = torch.randn(2, 3, 2 * length - 1, length, dtype=torch.float64)
    view = whole[1].transpose(-1, -2).requires_grad_()
    place = torch.arange(length)
    columns = length - 1 - place[:, None] + place[None, :]
    assert torch.equal(skew(view), view.gather(-1, columns.expand(3, -1, -1)))
    offset = torch.randn(2, length, 2 * length - 1)[1]
    assert torch.equal(skew(offset), offset.gather(-1, columns))
    assert torch.autograd.gradcheck(skew, (view,))
