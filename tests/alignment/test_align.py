"""Tokens get exactly the pieces that share a character with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.alignment import TokenAlignment, align_tokens, token_rows
from spacy_deberta.errors import AlignmentError
from spacy_deberta.tokenizers import UnigramTokenizer

Spans = list[tuple[int, int]]


def columns(spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(spans, dtype=np.int32).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def align(tokens: Spans, pieces: Spans) -> list[list[int]]:
    alignment = align_tokens(*columns(tokens), *columns(pieces))
    assert alignment.pieces.dtype == alignment.lengths.dtype == np.int64
    assert alignment.lengths.sum() == len(alignment.pieces)
    ends = alignment.lengths.cumsum()
    return [
        alignment.pieces[end - n : end].tolist()
        for n, end in zip(alignment.lengths, ends, strict=True)
    ]


def align_by_loop(tokens: Spans, pieces: Spans) -> list[list[int]]:
    return [
        [i for i, piece in enumerate(pieces) if set(range(*token)) & set(range(*piece))]
        for token in tokens
    ]


@st.composite
def token_spans(draw: st.DrawFn) -> Spans:
    cuts = sorted(draw(st.lists(st.integers(0, 30), max_size=16)))
    return list(zip(cuts[::2], cuts[1::2], strict=False))


PIECE_SPANS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda p: (p[0], p[0] + p[1])), max_size=16
)


@settings(max_examples=100)
@given(tokens=token_spans(), pieces=PIECE_SPANS)
def test_alignment_is_character_overlap(tokens: Spans, pieces: Spans) -> None:
    assert align(tokens, pieces) == align_by_loop(tokens, pieces)


@pytest.mark.slow
@settings(max_examples=3000)
@given(tokens=token_spans(), pieces=PIECE_SPANS)
def test_alignment_is_character_overlap_often(tokens: Spans, pieces: Spans) -> None:
    assert align(tokens, pieces) == align_by_loop(tokens, pieces)


def test_piece_over_several_tokens_stands_in_each() -> None:
    assert align([(0, 2), (2, 3), (3, 5)], [(0, 1), (1, 4), (4, 5)]) == [[0, 1], [1], [1, 2]]


def test_pieces_that_share_a_span_all_belong_to_its_token() -> None:
    assert align([(0, 1), (2, 3)], [(0, 1), (2, 3), (2, 3), (2, 3)]) == [[0], [1, 2, 3]]


def test_whitespace_token_has_no_pieces() -> None:
    assert align([(0, 3), (4, 6), (6, 9)], [(0, 3), (6, 9)]) == [[0], [], [1]]


@pytest.mark.parametrize(("tokens", "pieces"), [([], []), ([], [(0, 1)]), ([(0, 1)], [])])
def test_nothing_aligns_with_nothing(tokens: Spans, pieces: Spans) -> None:
    assert align(tokens, pieces) == [[] for _ in tokens]


def test_word_initial_piece_does_not_reach_the_token_before(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    """Spans that include the space before a word give "the" a piece of "old"."""
    pieces = tiny_tokenizer.encode("the old river")
    alignment = align_tokens(*columns([(0, 3), (4, 7), (8, 13)]), pieces.starts, pieces.ends)
    assert alignment.lengths.sum() == len(pieces)
    assert (np.diff(alignment.pieces) == 1).all()


def test_tokens_out_of_order_are_named() -> None:
    with pytest.raises(
        AlignmentError, match="token 2 starts at character 3, before token 1 ends at 4"
    ):
        align([(0, 2), (2, 4), (3, 5)], [])


def test_columns_of_unequal_length_are_refused() -> None:
    one, two = np.array([0]), np.array([0, 1])
    with pytest.raises(AlignmentError, match="1 token starts and 2 ends"):
        align_tokens(one, two, one, one)


def test_coverage_counts_visible_tokens_only() -> None:
    alignment = TokenAlignment(np.array([0, 1]), np.array([1, 0, 1, 0]))
    assert alignment.coverage(np.array([False, True, False, False])) == pytest.approx(2 / 3)
    assert alignment.coverage(np.array([False, True, False, True])) == 1.0
    assert alignment.coverage(np.ones(4, dtype=bool)) == 1.0
    with pytest.raises(AlignmentError, match="is_space has 2 tokens, the alignment 4"):
        alignment.coverage(np.ones(2, dtype=bool))


def test_token_rows_are_the_rows_of_its_pieces() -> None:
    alignment = TokenAlignment(np.array([0, 1, 1, 2]), np.array([2, 0, 2]))
    tokens = token_rows(alignment, np.array([11, 12, 23]))
    assert tokens.rows.tolist() == [11, 12, 12, 23]
    assert tokens.lengths.tolist() == [2, 0, 2]


def test_long_texts_align_at_once() -> None:
    n = 500_000
    starts = np.arange(n, dtype=np.int32) * 2
    alignment = align_tokens(starts, starts + 2, starts + 1, starts + 3)
    assert len(alignment.pieces) == 2 * n - 1
