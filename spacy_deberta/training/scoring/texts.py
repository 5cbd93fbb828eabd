"""Texts as pieces, and which pieces make a word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spacy_deberta.tokenizers import Pieces, Tokenizer
from spacy_deberta.training.masking import Bool, Int64

_APOSTROPHES = "'\u2019"


@dataclass(frozen=True, eq=False)
class ReadText:
    """One text.

    Attributes:
        ids: (N,) pieces, without special ones.
        words: (N,) number of each piece's word, ascending.
        n_words: words of the text, whatever its pieces: the same for every vocabulary.
    """

    ids: Int64
    words: Int64
    n_words: int

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Equal for texts of the same pieces in the same words."""
        return self.ids.tobytes(), self.words.tobytes()

    def cut(self, room: int | None) -> list[ReadText]:
        """Even parts of at most so many pieces; None = as it is. Words keep their numbers."""
        n_parts = 1 if room is None else max(1, -(-len(self.ids) // room))
        parts = zip(
            np.array_split(self.ids, n_parts), np.array_split(self.words, n_parts), strict=True
        )
        return [ReadText(ids, words, self.n_words) for ids, words in parts]


def read_texts(texts: Sequence[str], tokenizer: Tokenizer) -> list[ReadText]:
    """Texts in the pieces of a tokenizer."""
    encoded = tokenizer.encode_batch(texts)
    return [_read(text, pieces) for text, pieces in zip(texts, encoded, strict=True)]


def _read(text: str, pieces: Pieces) -> ReadText:
    starts = _word_starts(text)
    words = pieces.starts.astype(np.int64)  # never at a space, but in a text of nothing else
    if len(text):
        word_of = np.maximum(np.cumsum(starts) - 1, 0)
        words = word_of[np.minimum(words, len(text) - 1)]
    return ReadText(pieces.ids.astype(np.int64), np.maximum.accumulate(words), int(starts.sum()))


def _word_starts(text: str) -> Bool:
    """(C,) true where a word begins.

    A word is a run of letters, digits and marks, with apostrophes inside it ("can't"); every other
    character that is no space is a word of its own. So BERT's and GPT-2's tokenizers see words, on
    which the published scores stand.
    """
    spaces = np.asarray([char.isspace() for char in text], dtype=bool)
    symbols = np.asarray([unicodedata.category(char)[0] in "PS" for char in text], dtype=bool)
    letters = ~spaces & ~symbols
    before = np.concatenate([[False], letters])[: len(text)]
    behind = np.concatenate([letters, [False]])[1:]
    apostrophes = np.asarray([char in _APOSTROPHES for char in text], dtype=bool)
    inside = letters | (apostrophes & before & behind)
    inside_before = np.concatenate([[False], inside])[: len(text)]
    return ~spaces & ~(inside & inside_before)
