"""Pieces of several Docs to one packed batch.

Example with window=5, so 3 content pieces a window, and two Docs, of 5 pieces and of 1:

    natural order   [C a b c S] [C c d e S] [C f S]      Doc after Doc, window after window
    packed order    [C a b c S] [C c d e S] [C f S]      sorted by length, cut into micro-batches

Rows of the encoder are in packed order; `places` translates row numbers into it. The windows of one
Doc keep their order, since only its last one can be shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spacy_deberta.alignment import (
    Windows,
    merge_windows,
    pack_windows,
    split_windows,
    token_rows,
    window_pieces,
)
from spacy_deberta.thinc_layers.types import (
    DocPieces,
    EncoderBatch,
    EncoderSettings,
    Integers,
    MicroBatch,
)

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer


def pack_docs(
    docs: Sequence[DocPieces], tokenizer: Tokenizer, settings: EncoderSettings
) -> EncoderBatch:
    """Cut Docs into windows and pack these, across Docs, under the budget of pieces."""
    cut = [_cut(doc, settings) for doc in docs]
    lengths = _concatenate([windows.lengths for windows in cut])
    ids = _concatenate(
        [
            window_pieces(doc.pieces.ids, windows, tokenizer.cls_id, tokenizer.sep_id)
            for doc, windows in zip(docs, cut, strict=True)
        ]
    )
    packs = pack_windows(lengths, settings.batch_pieces)
    order = _concatenate(packs)
    taken = _packed_rows(lengths, order)
    places = np.empty_like(taken)
    places[taken] = np.arange(len(taken))
    first_rows = np.cumsum([0, *(int(windows.lengths.sum()) for windows in cut)])
    aligned = [
        token_rows(doc.alignment, merge_windows(windows) + first)
        for doc, windows, first in zip(docs, cut, first_rows[:-1], strict=True)
    ]
    return EncoderBatch(
        ids=ids[taken],
        lengths=lengths[order],
        n_windows=tuple(len(pack) for pack in packs),
        index=places[_concatenate([tokens.rows for tokens in aligned])],
        rows_per_token=_concatenate([tokens.lengths for tokens in aligned]),
        n_tokens=tuple(len(tokens.lengths) for tokens in aligned),
    )


def micro_batches(batch: EncoderBatch) -> Iterator[MicroBatch]:
    """Cut a batch into what goes through the encoder at once, in order.

    The pieces of a token that is split between micro-batches come in their order.
    """
    windows = np.cumsum([0, *batch.n_windows])
    rows = np.concatenate([[0], np.cumsum(batch.lengths)])[windows]
    token_ends = np.cumsum(batch.rows_per_token)
    for number, places in enumerate(_places_by_range(batch.index, rows)):
        tokens, counts = np.unique(
            np.searchsorted(token_ends, places, side="right"), return_counts=True
        )
        index = batch.index[places] - rows[number]
        ends = np.cumsum(counts)
        yield MicroBatch(
            ids=batch.ids[rows[number] : rows[number + 1]],
            lengths=batch.lengths[windows[number] : windows[number + 1]],
            tokens=tokens,
            index=index,
            rows_per_token=counts,
            split={
                int(tokens[i]): index[ends[i] - counts[i] : ends[i]]
                for i in np.flatnonzero(counts < batch.rows_per_token[tokens])
            },
        )


def _cut(doc: DocPieces, settings: EncoderSettings) -> Windows:
    return split_windows(len(doc.pieces), window=settings.window, stride=settings.stride)


def _packed_rows(lengths: Integers, order: Integers) -> Integers:
    """For each row in packed order, its number in natural order; both (N,)."""
    starts = np.cumsum(lengths) - lengths
    packed = lengths[order]
    packed_starts = np.cumsum(packed) - packed
    return np.arange(int(packed.sum())) + np.repeat(starts[order] - packed_starts, packed)


def _places_by_range(values: Integers, bounds: Integers) -> list[Integers]:
    """For each range from one bound to the next, where in `values` its numbers are; ascending."""
    ranges = np.searchsorted(bounds, values, side="right") - 1
    counts = np.bincount(ranges, minlength=len(bounds) - 1)
    return (
        np.split(np.argsort(ranges, kind="stable"), np.cumsum(counts)[:-1]) if len(counts) else []
    )


def _concatenate(arrays: Sequence[Integers]) -> Integers:
    """Concatenate; no arrays at all give an empty one."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])
