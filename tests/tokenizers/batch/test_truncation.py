"""Which pieces fit into a length; equality with `transformers` is in tests/reference."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import TruncationWarning
from spacy_deberta.tokenizers.batch.truncation import (
    STRATEGIES,
    Truncation,
    fit,
    warn_of_lengths,
)


def cut(strategy: str, max_length: int, **settings: int | str | bool) -> Truncation:
    return Truncation(strategy, max_length, **settings)  # type: ignore[arg-type]


def kept(lengths: list[int], truncation: Truncation, n_special: int = 0) -> list[list[int]]:
    rows = fit(lengths, n_special, truncation)
    return [[stop - start for start, stop in row] for row in rows]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_fits_stays_whole(strategy: str) -> None:
    assert fit([3, 4], 3, cut(strategy, 10)) == [[(0, 3), (0, 4)]]


def test_nothing_is_cut_unless_asked_for() -> None:
    assert fit([30], 2, cut("do_not_truncate", 10)) == [[(0, 30)]]
    assert fit([30], 2, Truncation("longest_first", None)) == [[(0, 30)]]


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([10, 4], 12, [8, 4]),
        ([4, 10], 12, [4, 8]),
        ([10, 4], 8, [4, 4]),
        ([10, 4], 7, [4, 3]),
        ([4, 10], 7, [4, 3]),
        ([10, 10], 19, [10, 9]),
        ([1, 1], 0, [0, 0]),
    ],
)
def test_the_longer_text_gives_way_first_and_the_odd_piece_is_the_seconds(
    lengths: list[int], limit: int, expected: list[int]
) -> None:
    assert kept(lengths, cut("longest_first", limit)) == [expected]


def test_the_side_to_cut_from() -> None:
    assert fit([10], 2, cut("longest_first", 6, side="left")) == [[(6, 10)]]
    assert fit([9, 9], 3, cut("only_first", 15, side="left")) == [[(6, 9), (0, 9)]]


def test_windows_overlap_by_the_stride() -> None:
    rows = fit([10], 2, cut("longest_first", 6, stride=1, windows=True))
    assert rows == [[(0, 4)], [(3, 7)], [(6, 10)]]


def test_windows_from_the_left_end_where_the_text_ends() -> None:
    rows = fit([9], 2, cut("longest_first", 6, stride=1, windows=True, side="left"))
    assert rows == [[(5, 9)], [(2, 6)], [(0, 3)]]


def test_windows_repeat_the_text_that_stays_whole() -> None:
    rows = fit([2, 7], 3, cut("only_second", 9, windows=True))
    assert rows == [[(0, 2), (0, 4)], [(0, 2), (4, 7)]]


@given(
    st.integers(0, 60), st.integers(3, 20), st.integers(0, 17), st.sampled_from(["right", "left"])
)
def test_windows_cover_every_piece_and_overlap_exactly(
    length: int, limit: int, stride: int, side: str
) -> None:
    room = limit - 2
    stride = min(stride, room - 1)
    truncation = cut("longest_first", limit, stride=stride, windows=True, side=side)
    ranges = sorted(row[0] for row in fit([length], 2, truncation))
    assert (ranges[0][0], ranges[-1][1]) == (0, length)
    assert all(stop - start <= room for start, stop in ranges)
    for (_, stop), (start, _) in pairwise(ranges):
        assert stop - start == stride


@given(st.integers(0, 40), st.integers(0, 40), st.integers(3, 60))
def test_longest_first_fills_the_length(first: int, second: int, limit: int) -> None:
    found = kept([first, second], cut("longest_first", limit), n_special=3)[0]
    assert sum(found) + 3 == min(limit, first + second + 3)
    assert abs(found[0] - found[1]) <= max(1, abs(first - second))


@pytest.mark.parametrize(
    ("lengths", "truncation", "message"),
    [
        ([9], cut("only_second", 6), "truncation='only_second': a text without a second one"),
        ([9], cut("longest_first", 1), "max_length=1: less than the 2 special pieces. Use"),
        (
            [3, 9],
            cut("only_first", 11),
            "less than the 3 special pieces and the 9 pieces that truncation='only_first' keeps",
        ),
        ([9, 9], cut("longest_first", 9, windows=True), "over both texts of a pair at once"),
        (
            [9],
            cut("longest_first", 5, stride=3, windows=True),
            "stride=3: windows never move on, for max_length=5 leaves room for 3 pieces",
        ),
    ],
)
def test_what_cannot_fit_is_refused(
    lengths: list[int], truncation: Truncation, message: str
) -> None:
    with pytest.raises(TokenizerError, match=re.escape(message)):
        fit(lengths, len(lengths) + 1, truncation)


@pytest.mark.parametrize(
    ("truncation", "asked", "limit", "message"),
    [
        (cut("longest_first", 5), None, 1e30, "2 of 3 text(s) are longer than max_length=5 pieces"),
        (Truncation(), None, 8, "1 of 3 text(s) are longer than model_max_length=8 pieces"),
        (Truncation("longest_first"), True, 1e30, "truncation=True cuts nothing: neither"),
    ],
)
def test_long_texts_are_counted_in_a_warning(
    truncation: Truncation, asked: bool | None, limit: float, message: str
) -> None:
    with pytest.warns(TruncationWarning, match=re.escape(message)):
        warn_of_lengths([4, 6, 9], truncation, asked, limit)


@pytest.mark.parametrize(
    ("truncation", "asked"), [(cut("longest_first", 5), True), (Truncation(), None)]
)
def test_what_was_asked_for_is_not_warned_of(truncation: Truncation, asked: bool | None) -> None:
    warn_of_lengths([4, 6, 9], truncation, asked, 1e30)
    warn_of_lengths([], truncation, asked, 5)
