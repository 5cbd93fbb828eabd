"""Texts, lists of words and Docs to the units that are tagged, with the pieces of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.ner_options import NerOptions
from spacy_deberta.alignment import align_tokens
from spacy_deberta.decoding import segment_words, whitespace_words
from spacy_deberta.errors import InputError
from spacy_deberta.tokenizers import Pieces, Tokenizer

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """What is tagged: words with pieces, or the pieces themselves.

    Shapes: starts, ends, words: (U,) characters, and the number of each word among those given;
    pieces (M,), lengths (U,), all 1 or more: the pieces of each.
    """

    starts: Ints
    ends: Ints
    words: Ints
    pieces: Ints
    lengths: Ints


@dataclass(frozen=True, eq=False)
class NerItem:
    """One input.

    Attributes:
        text: that offsets count in.
        pieces: of the text.
        units: its words.
    """

    text: str
    pieces: Pieces
    units: Units

    @property
    def as_units(self) -> Units:
        """The pieces as units of their own; those of one character are one unit's end to end."""
        starts, ends = self.pieces.starts.astype(np.int64), self.pieces.ends.astype(np.int64)
        words = np.searchsorted(self.units.ends, starts, side="right")
        last = max(len(self.units.words) - 1, 0)
        numbers = np.arange(len(starts))
        of_word = self.units.words[np.minimum(words, last)] if len(self.units.words) else numbers
        return Units(starts, ends, of_word, numbers, np.ones(len(starts), dtype=np.int64))


def text_item(text: str, core: Tokenizer, options: NerOptions) -> NerItem:
    """A text, split by the segmenter of the options."""
    if callable(options.words):
        bounds = np.array(options.words(text), dtype=np.int64).reshape(-1, 2)
        starts, ends = bounds[:, 0], bounds[:, 1]
        _check_segments(text, starts, ends)
    else:
        split = segment_words if options.words == "segment" else whitespace_words
        starts, ends = split(text)
    return _item(text, core.encode(text, specials=options.allow_special), starts, ends)


def words_item(words: Sequence[str], core: Tokenizer, options: NerOptions) -> NerItem:
    """A text given in words; empty ones keep their number, and are nothing else."""
    text, starts, ends = join_words(words, options.delimiter)
    return _item(text, core.encode(text, specials=options.allow_special), starts, ends)


def doc_item(doc: Doc | Span, core: Tokenizer, options: NerOptions) -> NerItem:
    """A Doc or a part of one, whose tokens are the words; places are those in its own text."""
    first = doc[0].idx if len(doc) else 0
    starts = np.array([token.idx - first for token in doc], dtype=np.int64)
    lengths = np.array([0 if token.is_space else len(token) for token in doc], dtype=np.int64)
    pieces = core.encode(doc.text, specials=options.allow_special)
    return _item(doc.text, pieces, starts, starts + lengths)


def join_words(words: Sequence[str], delimiter: str) -> tuple[str, Ints, Ints]:
    """The text, and the start and end of each word in it."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    starts = np.cumsum(lengths + len(delimiter)) - lengths - len(delimiter)
    return delimiter.join(words), starts, starts + lengths


def _item(text: str, pieces: Pieces, starts: Ints, ends: Ints) -> NerItem:
    aligned = align_tokens(starts, ends, pieces.starts, pieces.ends)
    filled = aligned.lengths > 0
    numbers = np.flatnonzero(filled)
    starts, ends = _trim(text, starts[filled], ends[filled])
    return NerItem(
        text, pieces, Units(starts, ends, numbers, aligned.pieces, aligned.lengths[filled])
    )


def _trim(text: str, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Without whitespace at the ends of words that users gave."""
    spans: list[Any] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        word = text[start:end]
        first = len(word) - len(word.lstrip())
        spans.append((start + first, start + max(first, len(word.rstrip()))))
    bounds = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return bounds[:, 0], bounds[:, 1]


def _check_segments(text: str, starts: Ints, ends: Ints) -> None:
    ordered = (starts < ends).all() and (starts[1:] >= ends[:-1]).all()
    if not ordered or (len(starts) and (starts[0] < 0 or ends[-1] > len(text))):
        raise InputError(
            f"words: the segmenter's spans of a text of {len(text)} characters are out of order, "
            "empty, overlapping or outside; expected (start, end) of each word, in order."
        )
