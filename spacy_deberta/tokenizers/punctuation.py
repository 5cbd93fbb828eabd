"""Texts cut at punctuation, as `split_by_punct` asks of DeBERTa's tokenizers."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

LAST_PUNCTUATION = 0x1E95F  # a test looks behind it
ASCII_SYMBOLS = "$+<=>^`|~"  # BERT counts every printable ASCII character but letters and digits


@dataclass(frozen=True, eq=False)
class Runs:
    """Parts of texts, one after another; together they are the texts.

    Attributes:
        texts: the parts.
        starts: (P,) where each begins in its text, in characters.
        first: (B + 1,) number of each text's first part, and P.
    """

    texts: list[str]
    starts: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]


def punctuation_runs(texts: Sequence[str]) -> Runs:
    """Cut texts into single punctuation characters and the runs between them."""
    matches = [list(_pattern().finditer(text)) for text in texts]
    first = np.cumsum([0, *map(len, matches)])
    parts = [match for found in matches for match in found]
    starts = np.fromiter((match.start() for match in parts), dtype=np.int32, count=len(parts))
    return Runs([match.group() for match in parts], starts, first)


@cache
def _pattern() -> re.Pattern[str]:
    """One punctuation character, or a run of others."""
    every = map(chr, range(LAST_PUNCTUATION + 1))
    marks = "".join(char for char in every if unicodedata.category(char)[0] == "P")
    chars = re.escape(marks + ASCII_SYMBOLS)
    return re.compile(f"[{chars}]|[^{chars}]+", re.DOTALL)
