"""Windows cover a text, and merging takes every piece from where it sees most."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.alignment import Windows, merge_windows, split_windows, window_pieces
from spacy_deberta.errors import AlignmentError

CLS, SEP = -1, -2


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Pieces, window, stride that work together."""
    window = draw(st.integers(3, 14))
    return draw(st.integers(0, 60)), window, draw(st.integers(1, window - 2))


def rows_by_loop(windows: Windows) -> list[int]:
    """For each piece try every window; shares nothing with the cuts of `merge_windows`."""
    best: dict[int, tuple[int, int]] = {}
    row = 0
    for start, end in zip(windows.starts.tolist(), windows.ends.tolist(), strict=True):
        row += 1
        for piece in range(start, end):
            context = min(piece - start, end - 1 - piece)
            if piece not in best or context > best[piece][0]:
                best[piece] = (context, row)
            row += 1
        row += 1
    return [best[piece][1] for piece in sorted(best)]


def check_shape(n_pieces: int, window: int, stride: int) -> None:
    windows = split_windows(n_pieces, window=window, stride=stride)
    ids = np.arange(n_pieces)
    laid = window_pieces(ids, windows, CLS, SEP)
    rows = merge_windows(windows)
    assert rows.tolist() == rows_by_loop(windows)
    assert laid[rows].tolist() == ids.tolist()
    assert windows.n_pieces == n_pieces
    assert len(laid) == windows.lengths.sum()
    assert (windows.lengths <= window).all()
    assert (np.diff(windows.starts) == stride).all()
    assert (np.diff(windows.ends) > 0).all()
    assert (laid[windows.offsets] == CLS).all()
    assert (laid[windows.offsets + windows.lengths - 1] == SEP).all()
    assert (np.delete(laid, rows) < n_pieces).all()


@settings(max_examples=100)
@given(shape=shapes())
def test_merging_undoes_splitting(shape: tuple[int, int, int]) -> None:
    check_shape(*shape)


@pytest.mark.slow
def test_merging_undoes_splitting_for_every_small_shape() -> None:
    for window in range(3, 12):
        for stride in range(1, window - 1):
            for n_pieces in range(40):
                check_shape(n_pieces, window, stride)


def test_windows_of_the_drawing() -> None:
    windows = split_windows(10, window=8, stride=4)
    assert windows.starts.tolist() == [0, 4]
    assert windows.ends.tolist() == [6, 10]
    assert merge_windows(windows).tolist() == [1, 2, 3, 4, 5, 10, 11, 12, 13, 14]


def test_tie_goes_to_the_earlier_window() -> None:
    windows = split_windows(9, window=8, stride=3)  # pieces 3, 4, 5 are in both
    assert merge_windows(windows).tolist() == [1, 2, 3, 4, 5, 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("n_pieces", "n_windows"), [(0, 0), (1, 1), (6, 1), (7, 2), (10, 2), (11, 3)]
)
def test_there_is_no_redundant_window(n_pieces: int, n_windows: int) -> None:
    assert len(split_windows(n_pieces, window=8, stride=4)) == n_windows


def test_text_without_pieces_has_no_rows() -> None:
    windows = split_windows(0, window=8, stride=4)
    assert merge_windows(windows).shape == (0,)
    assert window_pieces(np.zeros(0, dtype=np.int32), windows, CLS, SEP).shape == (0,)


def test_results_are_int64_whatever_the_ids() -> None:
    windows = split_windows(20, window=8, stride=4)
    laid = window_pieces(np.arange(20, dtype=np.int32), windows, CLS, SEP)
    assert {a.dtype for a in (windows.starts, windows.ends, windows.lengths, laid)} == {
        np.dtype(np.int64)
    }
    assert merge_windows(windows).dtype == np.int64


@pytest.mark.parametrize(
    ("stride", "message"),
    [
        (0, r"stride=0 never moves on with window=16: .* Use a stride from 1 to 14"),
        (-3, r"stride=-3 never moves on"),
        (15, r"stride=15 would skip pieces between windows with window=16"),
        (16, r"stride=16 would skip .* leave room for 14 pieces"),
    ],
)
def test_stride_that_cannot_cover_the_text_is_refused(stride: int, message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        split_windows(100, window=16, stride=stride)


def test_window_without_room_is_refused() -> None:
    with pytest.raises(AlignmentError, match=r"window=2 leaves no room .* use window >= 3"):
        split_windows(100, window=2, stride=1)


def test_negative_length_is_refused() -> None:
    with pytest.raises(AlignmentError, match="n_pieces=-1"):
        split_windows(-1, window=8, stride=4)


def test_ids_of_another_text_are_refused() -> None:
    with pytest.raises(AlignmentError, match="5 pieces, but windows over 10"):
        window_pieces(np.arange(5), split_windows(10, window=8, stride=4), CLS, SEP)
