"""Pieces of several Docs to one packed batch.

Example with window=5, so 3 content pieces a window, and two Docs, of 5 pieces and of 1:

    natural order   [C a b c S] [C c d e S] [C f S]      Doc after Doc, window after window
    packed order    [C a b c S] [C c d e S] [C f S]      sorted by length, cut into micro-batches

Rows of the encoder are in packed order; `places` translates row numbers into it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from spacy_deberta.thinc_layers.types import DocPieces, EncoderBatch, EncoderSettings, Integers

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
    )


def _cut(doc: DocPieces, settings: EncoderSettings) -> Windows:
    return split_windows(len(doc.pieces), window=settings.window, stride=settings.stride)


def _packed_rows(lengths: Integers, order: Integers) -> Integers:
    """For each row in packed order, its number in natural order; both (N,)."""
    starts = np.cumsum(lengths) - lengths
    packed = lengths[order]
    packed_starts = np.cumsum(packed) - packed
    return np.arange(int(packed.sum())) + np.repeat(starts[order] - packed_starts, packed)


def _concatenate(arrays: Sequence[Integers]) -> Integers:
    """Concatenate; no arrays at all give an empty one."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])
