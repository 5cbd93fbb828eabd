"""Texts in lower case, as `do_lower_case` asks, and spans of these back to the caller's strings."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spacy_deberta.tokenizers.spans import First, Ints

CAPITAL_SIGMA, SIGMA = "\u03a3", "\u03c3"


def lower_texts(texts: Sequence[str], keep: re.Pattern[str] | None) -> list[str]:
    """Lower-case texts character by character, all but what matches `keep`.

    Letter by letter, a capital sigma is never the one that ends a word.
    """
    if keep is None:
        return [_lower(text) for text in texts]
    lowered = []
    for text in texts:
        parts, at = [], 0
        for match in keep.finditer(text):
            parts += [_lower(text[at : match.start()]), match.group()]
            at = match.end()
        lowered.append("".join([*parts, _lower(text[at:])]))
    return lowered


def restore_spans(block: Ints, first: First, texts: Sequence[str], lowered: Sequence[str]) -> None:
    """Move spans, in place, from lower-cased texts to the texts.

    Only where the length has changed: "İ" becomes two characters, and pieces of either get it all.

    Args:
        block: (3, N) ids, starts and ends.
        first: (B + 1,) number of each text's first piece, and N.
        texts: (B) the caller's.
        lowered: (B) the same, lower-cased.
    """
    for number, (text, low) in enumerate(zip(texts, lowered, strict=True)):
        if len(text) == len(low):
            continue
        source = _sources(text, low)
        starts, ends = block[1:, first[number] : first[number + 1]]
        ends[:] = source[ends - 1] + 1
        starts[:] = source[starts]


def _sources(text: str, lowered: str) -> npt.NDArray[np.int32]:
    """For each lower-cased character, and the end, the place of its source."""
    source, at = [], 0
    for place, char in enumerate(text):
        low = char.lower()
        n_chars = len(low) if lowered.startswith(low, at) else 1
        source += [place] * n_chars
        at += n_chars
    return np.array([*source, len(text)], dtype=np.int32)


def _lower(text: str) -> str:
    return text.replace(CAPITAL_SIGMA, SIGMA).lower()
