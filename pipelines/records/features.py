"""Rows of the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.records.base import Record


@dataclass(frozen=True, slots=True, eq=False)
class Features(Record):
    """Rows of the encoder for one text.

    Attributes:
        vectors: (R, width) float32: a row per piece, word or text.
        offsets: first character and one behind the last of what each row stands for; (0, 0) for
            special pieces.
        mask: (R,) true = of the text, false = of a special piece.
        pooled: there is one row, of the whole text.
        n_windows: in which the text was read.
        truncated: part of the text was not read.
    """

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    offsets: tuple[tuple[int, int], ...]
    mask: tuple[bool, ...]
    pooled: bool
    n_windows: int
    truncated: bool

    def to_dict(self) -> dict[str, Any]:
        """All attributes, the vectors as lists."""
        return {
            "vectors": self.vectors.tolist(),
            "offsets": [list(span) for span in self.offsets],
            "mask": list(self.mask),
            "n_windows": self.n_windows,
            "truncated": self.truncated,
        }
