"""Rows for a model: one text or two, in pieces, with the special pieces between and around them.

pieces     [CLS] a a a [SEP] b b [SEP] [PAD]
sequence     -   0 0 0   -   1 1   -     -       which text
type         0   0 0 0   0   1 1   1     0
special      1   0 0 0   1   0 0   1     1
attention    1   1 1 1   1   1 1   1     0
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spacy_deberta.tokenizers.encoding import Pieces

Ints = npt.NDArray[np.int32]

NONE = -1  # the text or word of a special piece


@dataclass(frozen=True, eq=False)
class Segment:
    """One text, or one list of words, in pieces.

    Attributes:
        pieces: offsets count from the beginning of the text, or from that of the word.
        words: (N,) the word of each piece, if words were given.
        text: what the words are found in, if it was one text.
    """

    pieces: Pieces
    words: Ints | None
    text: str

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def word_numbers(self) -> Ints:
        """(N,) the word of each piece; in a text, what stands between whitespace is a word."""
        if self.words is not None:
            return self.words
        is_space = np.array([char.isspace() for char in self.text] + [True])
        begins = ~is_space & np.concatenate([[True], is_space[:-1]])
        number = np.cumsum(begins, dtype=np.int32) - 1
        return number[self.pieces.starts].clip(min=0)


@dataclass(frozen=True, eq=False)
class Row:
    """What a model gets as one row, before padding: texts, or windows of them.

    Attributes:
        sample: which of the samples it comes from.
        segments: one or two.
        ranges: which of their pieces.
        framed: whether special pieces stand around and between them.
    """

    sample: int
    segments: Sequence[Segment]
    ranges: Sequence[tuple[int, int]]
    framed: bool

    def __len__(self) -> int:
        n_special = number_of_specials(len(self.segments)) if self.framed else 0
        return n_special + sum(stop - start for start, stop in self.ranges)

    def ids(self, cls_id: int, sep_id: int) -> Ints:
        """(L,) piece numbers."""
        laid = self._lay([segment.pieces.ids for segment in self.segments], sep_id)
        if self.framed:
            laid[0] = cls_id
        return laid

    def offsets(self) -> Ints:
        """(L, 2) where each piece begins and ends in its text or word; 0 for special pieces."""
        offsets = np.empty((len(self), 2), dtype=np.int32)
        offsets[:, 0] = self._lay([segment.pieces.starts for segment in self.segments], 0)
        offsets[:, 1] = self._lay([segment.pieces.ends for segment in self.segments], 0)
        return offsets

    def words(self) -> Ints:
        """(L,) the word of each piece; -1 for special pieces."""
        return self._lay([segment.word_numbers for segment in self.segments], NONE)

    def sequences(self) -> Ints:
        """(L,) 0 for pieces of the first text, 1 for those of the second, -1 for special ones."""
        numbers = (
            np.full(len(segment), i, dtype=np.int32) for i, segment in enumerate(self.segments)
        )
        return self._lay(list(numbers), NONE)

    def types(self) -> Ints:
        """(L,) 1 for the second text and its [SEP], else 0; all 0 without special pieces."""
        types = np.zeros(len(self), dtype=np.int32)
        if self.framed and len(self.ranges) > 1:
            start, stop = self.ranges[1]
            types[start - stop - 1 :] = 1
        return types

    def special(self) -> Ints:
        """(L,) 1 for the special pieces around the texts, 0 for pieces of the texts."""
        return (self.sequences() == NONE).astype(np.int32)

    def _lay(self, values: Sequence[Ints], fill: int) -> Ints:
        """The texts' own values where their pieces are, `fill` where special pieces are."""
        laid = np.full(len(self), fill, dtype=np.int32)
        at = n_between = int(self.framed)
        for value, (start, stop) in zip(values, self.ranges, strict=True):
            laid[at : at + stop - start] = value[start:stop]
            at += stop - start + n_between
        return laid


def number_of_specials(n_segments: int) -> int:
    """Special pieces around that many texts: [CLS], and [SEP] behind each."""
    return n_segments + 1


def row_length(segments: Sequence[Segment], *, framed: bool) -> int:
    """Pieces of a row with whole texts."""
    n_special = number_of_specials(len(segments)) if framed else 0
    return n_special + sum(map(len, segments))
