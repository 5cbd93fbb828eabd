"""A text to words, where nobody has split it: the units that are tagged.

letters, digits, marks          a word, also with apostrophes, dots, hyphens between them: "U.S"
Han, Kana, Thai, Lao, ...       each character with its marks is a word
any other visible character     a word; emoji joined to one stay one
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_UNSPACED = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_JOINERS = "'\u2019.\\-"
_SKIN_TONES = "\U0001f3fb-\U0001f3ff"
_TAGS = "\U000e0020-\U000e007f"
_PLANE_1_SYMBOLS = 0x1F000  # from here on there are symbols and Han, no marks but these:
_SELECTORS = range(0xE0100, 0xE01F0)
_FLAGS = "\U0001f1e6-\U0001f1ff"


def segment_words(text: str) -> tuple[Ints, Ints]:
    """Start and end (exclusive) of each word, in order; whitespace belongs to none."""
    spans = [match.span() for match in _pattern().finditer(text)]
    bounds = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return bounds[:, 0], bounds[:, 1]


def whitespace_words(text: str) -> tuple[Ints, Ints]:
    """The same for what stands between whitespace."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    bounds = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return bounds[:, 0], bounds[:, 1]


@functools.cache
def _pattern() -> re.Pattern[str]:
    marks = f"[{_marks()}\ufe0f\u200c]*"
    letter = rf"[^\W{_UNSPACED}]{marks}"
    flag = f"[{_FLAGS}]{{2}}"
    sign = rf"\S[{_marks()}{_SKIN_TONES}{_TAGS}]*"
    return re.compile(
        rf"{letter}(?:[{_JOINERS}]?{letter})*"
        rf"|[{_UNSPACED}]{marks}"
        rf"|{flag}"
        rf"|{sign}(?:\u200d{sign})*"
    )


def _marks() -> str:
    """All combining marks, as ranges inside a character class."""
    ranges: list[list[int]] = []
    for code in itertools.chain(range(_PLANE_1_SYMBOLS), _SELECTORS):
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
