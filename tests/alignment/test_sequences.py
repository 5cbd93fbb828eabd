"""Texts and pairs to rows that fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.alignment import Frame, lay_text
from spacy_deberta.errors import AlignmentError

CLS, SEP = 1, 2


def pieces(n: int, first: int = 10) -> np.ndarray:
    return np.arange(first, first + n)


def frame(**settings: object) -> Frame:
    return Frame(CLS, SEP, **settings)  # type: ignore[arg-type]


def test_a_short_text_is_one_row() -> None:
    laid = lay_text(pieces(2), None, frame(window=4))

    assert [row.ids for row in laid.rows] == [[CLS, 10, 11, SEP]]
    assert laid.rows[0].types == [0] * 4
    assert not laid.truncated


def test_a_pair_has_types() -> None:
    (row,) = lay_text(pieces(2), pieces(1, 30), frame()).rows

    assert row.ids == [CLS, 10, 11, SEP, 30, SEP]
    assert row.types == [0, 0, 0, 0, 1, 1]


def test_a_long_text_is_windows_weighted_by_what_they_add() -> None:
    laid = lay_text(pieces(7), None, frame(window=6, stride=2))

    assert [row.ids[1:-1] for row in laid.rows] == [
        [10, 11, 12, 13],
        [12, 13, 14, 15],
        [14, 15, 16],
    ]
    assert [row.weight for row in laid.rows] == [4, 2, 1]


def test_the_longer_text_of_a_pair_is_cut_into_windows() -> None:
    laid = lay_text(pieces(2), pieces(5, 30), frame(window=8, stride=2))

    assert [row.ids for row in laid.rows] == [
        [CLS, 10, 11, SEP, 30, 31, 32, SEP],
        [CLS, 10, 11, SEP, 32, 33, 34, SEP],
    ]
    assert not laid.truncated


def test_the_other_text_keeps_half_the_room() -> None:
    laid = lay_text(pieces(9), pieces(9, 30), frame(window=9))

    assert laid.truncated
    assert [row.ids[1:4] for row in laid.rows] == [[10, 11, 12], [13, 14, 15], [16, 17, 18]]
    assert all(row.ids[5:] == [30, 31, 32, SEP] for row in laid.rows)


def test_only_the_first_text_is_cut_if_asked() -> None:
    laid = lay_text(pieces(4), pieces(5, 30), frame(window=10, cut=True, only_first=True))

    assert [row.ids for row in laid.rows] == [[CLS, 10, 11, SEP, 30, 31, 32, 33, 34, SEP]]
    assert laid.truncated


def test_texts_without_pieces_are_rows_of_special_pieces() -> None:
    assert lay_text(pieces(0), None, frame(window=3)).rows[0].ids == [CLS, SEP]
    assert lay_text(pieces(0), pieces(0), frame(window=3)).rows[0].ids == [CLS, SEP, SEP]


def test_a_window_without_room_is_an_error() -> None:
    with pytest.raises(AlignmentError, match="window=4 leaves no room for pieces beside 3"):
        lay_text(pieces(4), pieces(1), frame(window=4))


@given(st.integers(0, 30), st.integers(0, 30), st.integers(5, 40), st.integers(1, 9))
def test_rows_fit_and_show_every_piece_of_what_is_cut(
    n_first: int, n_second: int, window: int, stride: int
) -> None:
    first, second = pieces(n_first), pieces(n_second, 100)
    laid = lay_text(first, second, frame(window=window, stride=stride))

    assert all(len(row.ids) <= window for row in laid.rows)
    assert all(len(row.ids) == len(row.types) for row in laid.rows)
    shown = {id for row in laid.rows for id in row.ids}
    longer = first if n_first >= n_second else second
    assert set(longer.tolist()) <= shown
    assert laid.truncated == bool(set([*first, *second]) - shown)
    if len(laid.rows) > 1:
        assert sum(row.weight for row in laid.rows) == len(longer)
