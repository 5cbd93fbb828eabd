"""What a tokenizer returns, and how it makes any Python string encodable."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


class SurrogateWarning(UserWarning):
    """Lone surrogates were replaced before tokenization; offsets are not affected."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of one text, without special pieces.

    Shapes: ids, starts, ends: (N,) int32. Piece i is the vocabulary's row ids[i] and covers
    text[starts[i]:ends[i]] of the caller's string.
    """

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


def replace_surrogates(texts: Sequence[str]) -> list[str]:
    """Replace every lone surrogate by U+FFFD, one for one, and warn with their number.

    A lone surrogate (half of a UTF-16 pair, often the trace of a wrong decoding) has no UTF-8 form,
    so no tokenizer can read it. Lengths, and so all offsets, stay as they are.
    """
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        replaced = [LONE_SURROGATE.subn(REPLACEMENT, text) for text in texts]
        n_found = sum(n for _, n in replaced)
        n_texts = sum(n > 0 for _, n in replaced)
        warnings.warn(
            f"{n_found} lone surrogate(s) in {n_texts} of {len(texts)} text(s) replaced by U+FFFD "
            "for tokenization; offsets are unchanged. Decode the source with its own encoding.",
            SurrogateWarning,
            stacklevel=3,
        )
        return [text for text, _ in replaced]
    return list(texts)
