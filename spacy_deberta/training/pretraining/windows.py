"""Where samples begin and end: whole sentences of one document, packed into windows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from spacy_deberta.errors import DataError
from spacy_deberta.training.corpus import SENTENCES_FILE, Int64, PieceCorpus

_GROUP = 1 << 20  # sentences looked at in one go, about


def window_edges(corpus: PieceCorpus, room: int) -> Int64:
    """Pack the sentences of every document into windows, each as full as it gets.

        sentences   |-----|--|---|-------------------|--|         room for 12 pieces
        windows     [--------][-------][----------][----]         the long one is cut evenly

    A corpus without sentences is cut evenly, document by document.

    Args:
        corpus: what to cut.
        room: most pieces of a window.

    Returns:
        (W + 1,) windows lie between neighbors: all pieces are in one of them.

    Raises:
        DataError: sentences and documents do not fit together.
    """
    edges = [np.zeros(1, dtype=np.int64)]
    start = 0
    for documents, sentences in _groups(corpus):
        if np.diff(sentences, prepend=start).min() < 1:
            raise _misfit(corpus)
        edges.append(_pack(documents, _cut_long(start, sentences, room), start, room))
        start = int(documents[-1])
    return np.concatenate(edges)


def _groups(corpus: PieceCorpus) -> Iterator[tuple[Int64, Int64]]:
    """Ends of some documents and of all their sentences, in turn: not all at once in memory."""
    if corpus.sentences is None:
        yield corpus.ends, corpus.ends
        return
    # The number of sentences up to the end of each document.
    counts = np.searchsorted(corpus.sentences, corpus.ends, side="right")
    if np.diff(counts, prepend=0).min() < 1 or (corpus.sentences[counts - 1] != corpus.ends).any():
        raise _misfit(corpus)
    firsts = np.unique(np.searchsorted(counts, np.arange(0, counts[-1], _GROUP), side="right"))
    for first, last in pairwise([*firsts.tolist(), len(counts)]):
        begin = counts[first - 1] if first else 0
        yield corpus.ends[first:last], np.asarray(corpus.sentences[begin : counts[last - 1]])


def _misfit(corpus: PieceCorpus) -> DataError:
    return DataError(
        f"{corpus.source}/{SENTENCES_FILE}: its sentences do not ascend, or do not end where "
        "documents end. The file is damaged or of another corpus; tokenize the texts again."
    )


def _cut_long(start: int, sentences: Int64, room: int) -> Int64:
    """The ends of sentences, and of even parts of those that have no room in a window."""
    sizes = np.diff(sentences, prepend=start)
    n_parts = -(-sizes // room)
    if n_parts.max() == 1:
        return sentences
    owner = np.repeat(np.arange(len(sentences)), n_parts)
    part = np.arange(1, len(owner) + 1) - (np.cumsum(n_parts) - n_parts)[owner]
    return np.asarray((sentences - sizes)[owner] + sizes[owner] * part // n_parts[owner])


def _pack(documents: Int64, units: Int64, start: int, room: int) -> Int64:
    """The ends of windows of as many whole units as fit, none over the end of its document."""
    begins = np.concatenate([[start], units[:-1]])
    document_ends = documents[np.searchsorted(documents, units)]
    reach = np.minimum(begins + room, document_ends)
    following = np.searchsorted(units, reach, side="right").tolist()  # first unit with no room
    chosen = []
    unit = 0
    while unit < len(units):
        unit = following[unit]
        chosen.append(unit - 1)
    return units[chosen]
