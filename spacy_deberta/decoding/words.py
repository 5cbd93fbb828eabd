"""Where the words of a text begin and end, for spans that must not end inside one."""

from __future__ import annotations

import unicodedata

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# Scripts written without spaces: every character is a word of its own here.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x30FF),  # ideographic marks, Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, rare
)


def word_bounds(text: str) -> tuple[Ints, Ints]:
    """Start and end of the run of word characters around each character.

    Word characters are letters, digits, marks and "_"; punctuation, spaces and characters of
    scripts without spaces are runs of their own.

    Returns:
        Two arrays (len(text),): first character, one behind the last.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    distinct, place = np.unique(codes, return_inverse=True)
    joins = np.array([_joins(int(code)) for code in distinct], dtype=bool)[place]
    begins = np.ones(len(codes), dtype=bool)
    begins[1:] = ~(joins[1:] & joins[:-1])
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=len(codes))
    return np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)


def _joins(code: int) -> bool:
    if any(low <= code <= high for low, high in _UNSPACED):
        return False
    character = chr(code)
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"
