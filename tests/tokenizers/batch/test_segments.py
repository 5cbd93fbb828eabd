"""Texts and words become pieces whose offsets count where users do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta import DebertaTokenizer
from spacy_deberta.tokenizers import load_tokenizer
from spacy_deberta.tokenizers.batch.rows import Row, row_length
from spacy_deberta.tokenizers.batch.segments import Splitting, lay_rows, split_samples
from spacy_deberta.tokenizers.batch.truncation import Truncation
from tests.reference.tokenizer_api_cases import FOLDER

TEXTS = [("Marie wrote", "the old river"), ("",), ("London",)]
WORDS = ["Marie", " wrote", "", "½", "[MASK]", "river"]


def test_samples_keep_their_texts_in_order(tokenizer: DebertaTokenizer) -> None:
    found = split_samples(tokenizer.core, TEXTS, Splitting(specials=False))
    assert [tuple(segment.text for segment in sample) for sample in found] == TEXTS
    for sample, texts in zip(found, TEXTS, strict=True):
        for segment, text in zip(sample, texts, strict=True):
            assert segment.pieces.ids.tolist() == tokenizer.core.encode(text).ids.tolist()


@pytest.mark.parametrize("prefix", ["", " "])
def test_offsets_of_words_count_within_each_word(tokenizer: DebertaTokenizer, prefix: str) -> None:
    splitting = Splitting(specials=True, in_words=True, prefix=prefix)
    ((segment,),) = split_samples(tokenizer.core, [(WORDS,)], splitting)
    assert set(segment.word_numbers.tolist()) == {0, 1, 3, 4, 5}
    for number, word in enumerate(WORDS):
        of_word = segment.word_numbers == number
        covered = {
            i
            for start, end in zip(
                segment.pieces.starts[of_word], segment.pieces.ends[of_word], strict=True
            )
            for i in range(start, end)
        }
        assert covered == {i for i, char in enumerate(word) if not char.isspace()}


def test_a_list_without_words_has_no_pieces(tokenizer: DebertaTokenizer) -> None:
    splitting = Splitting(specials=True, in_words=True)
    ((empty,), (full,)) = split_samples(tokenizer.core, [([],), (["a"],)], splitting)
    assert len(empty) == 0
    assert len(full) > 0


def test_words_of_a_text_stand_between_whitespace(tokenizer: DebertaTokenizer) -> None:
    text = "  Marie,\twrote \n  the"
    ((segment,),) = split_samples(tokenizer.core, [(text,)], Splitting(specials=False))
    visible = [i for i, start in enumerate(segment.pieces.starts) if not text[start].isspace()]
    for i in visible:
        start = segment.pieces.starts[i]
        assert segment.word_numbers[i] == len(text[: start + 1].split()) - 1
    assert segment.word_numbers.max() == 2


@given(st.lists(st.text(max_size=6), max_size=5), st.booleans())
def test_rows_hold_what_their_segments_hold(words: list[str], framed: bool) -> None:
    core = load_tokenizer(FOLDER / "v2")
    texts = [(" ".join(words), word) for word in words]
    samples = split_samples(core, texts, Splitting(specials=False))
    rows = lay_rows(samples, Truncation(), framed=framed)
    assert [row.sample for row in rows] == list(range(len(texts)))
    for row, segments in zip(rows, samples, strict=True):
        _check_row(row, core.cls_id, core.sep_id)
        assert len(row) == row_length(segments, framed=framed)


def _check_row(row: Row, cls_id: int, sep_id: int) -> None:
    """All columns of a row tell the same story."""
    ids, sequences, special = row.ids(cls_id, sep_id), row.sequences(), row.special()
    for number, segment in enumerate(row.segments):
        assert np.array_equal(ids[sequences == number], segment.pieces.ids)
        starts, ends = row.offsets()[sequences == number].T
        assert np.array_equal(starts, segment.pieces.starts)
        assert np.array_equal(ends, segment.pieces.ends)
    assert np.array_equal(special == 1, sequences == -1)
    assert ids[special == 1].tolist() == ([cls_id, sep_id, sep_id] if row.framed else [])
    second = row.types() == 1
    assert not second[sequences == 0].any()
    assert second[sequences == 1].all() == (row.framed or not len(row.segments[1]))
