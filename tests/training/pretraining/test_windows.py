"""Whole sentences packed into windows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.errors import DataError
from spacy_deberta.training.corpus import PieceCorpus
from spacy_deberta.training.pretraining import windows
from spacy_deberta.training.pretraining.windows import window_edges

Documents = list[list[int]]  # sizes of the sentences of each document
documents = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=12)
rooms = st.integers(1, 30)


def corpus_of(sizes: Documents) -> PieceCorpus:
    sentences = np.cumsum([size for document in sizes for size in document])
    ends = np.cumsum([sum(document) for document in sizes])
    return PieceCorpus(np.zeros(ends[-1], dtype=np.uint16), ends, sentences)


def pack_slowly(sizes: Documents, room: int) -> list[int]:
    """Piece by piece: the ends of windows."""
    edges, at = [0], 0
    for document in sizes:
        taken = 0
        for size in document:
            n_parts = -(-size // room)
            for part in range(n_parts):
                width = size * (part + 1) // n_parts - size * part // n_parts
                if taken + width > room:
                    edges.append(at)
                    taken = 0
                at += width
                taken += width
        edges.append(at)
    return edges


@given(documents, rooms)
def test_windows_are_as_full_as_whole_sentences_make_them(sizes: Documents, room: int) -> None:
    assert window_edges(corpus_of(sizes), room).tolist() == pack_slowly(sizes, room)


@given(documents, rooms)
def test_every_piece_is_in_one_window_of_its_document(sizes: Documents, room: int) -> None:
    corpus = corpus_of(sizes)
    edges = window_edges(corpus, room).tolist()
    assert (edges[0], edges[-1]) == (0, len(corpus.pieces))
    assert all(1 <= end - start <= room for start, end in pairwise(edges))
    assert set(corpus.ends.tolist()) <= set(edges)


@given(documents, rooms)
def test_only_a_sentence_longer_than_a_window_is_cut(sizes: Documents, room: int) -> None:
    corpus = corpus_of(sizes)
    assert corpus.sentences is not None
    starts = [0, *corpus.sentences[:-1].tolist()]
    cut = set(window_edges(corpus, room).tolist()[1:]) - set(corpus.sentences.tolist())
    for start, end in zip(starts, corpus.sentences.tolist(), strict=True):
        parts = [place for place in sorted(cut) if start < place < end]
        assert not parts or end - start > room


@given(documents, rooms)
def test_without_sentences_documents_are_cut_evenly(sizes: Documents, room: int) -> None:
    whole = corpus_of(sizes)
    corpus = PieceCorpus(whole.pieces, whole.ends)
    edges = window_edges(corpus, room)
    assert set(corpus.ends.tolist()) <= set(edges.tolist())
    for start, end in pairwise([0, *corpus.ends.tolist()]):
        widths = np.diff(edges[(edges >= start) & (edges <= end)])
        assert len(widths) == -(-(end - start) // room)
        assert widths.sum() == end - start
        assert 1 <= widths.min() <= widths.max() <= room
        assert widths.max() - widths.min() <= 1


@pytest.mark.parametrize("group", [1, 2, 5, 1000])
def test_groups_of_documents_change_nothing(monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 40, rng.integers(1, 9)).tolist() for _ in range(50)]
    monkeypatch.setattr(windows, "_GROUP", group)
    assert window_edges(corpus_of(sizes), 20).tolist() == pack_slowly(sizes, 20)


@pytest.mark.parametrize(
    "sentences",
    [[3, 6, 8], [3, 6, 6, 8, 10], [6, 3, 8, 10], [12, 20, 30], [3, 7, 9, 10]],
    ids=["short", "empty", "descending", "foreign", "over the end of a document"],
)
def test_sentences_that_do_not_fit_are_refused(sentences: list[int]) -> None:
    corpus = PieceCorpus(np.zeros(10, np.uint16), np.asarray([6, 10]), np.asarray(sentences))
    message = r"^the corpus/sentences\.i64: its sentences do not ascend, or do not end where"
    with pytest.raises(DataError, match=message):
        window_edges(corpus, 4)
