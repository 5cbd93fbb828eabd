"""Docs to pieces: the text is split once, as a whole, and aligned by characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc

from spacy_deberta.alignment import TokenAlignment, align_tokens
from spacy_deberta.thinc_layers.types import DocPieces

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer


def split_docs(tokenizer: Tokenizer, docs: Sequence[Doc]) -> list[DocPieces]:
    """Split the text of every Doc into pieces.

    Returns:
        One per Doc. Whitespace tokens have no piece.
    """
    encoded = tokenizer.encode_batch([doc.text for doc in docs])
    return [
        DocPieces(pieces, align_doc(doc, pieces.starts, pieces.ends))
        for doc, pieces in zip(docs, encoded, strict=True)
    ]


def align_doc(
    doc: Doc, piece_starts: npt.NDArray[np.int32], piece_ends: npt.NDArray[np.int32]
) -> TokenAlignment:
    """Which pieces each token of the Doc, as it is tokenized now, is made of."""
    starts, lengths = doc.to_array([IDX, LENGTH]).astype(np.int64).reshape(-1, 2).T
    return align_tokens(starts, starts + lengths, piece_starts, piece_ends)
