"""The table of attention paths: the plain formula and its fast forms, by name.

Every path is a function of the same arguments and gives the same numbers, so that each can be
swapped for another and compared. A new path is one file in `fast/` and one row here.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from spacy_deberta.encoder.fast.skew import attend_skew
from spacy_deberta.encoder.fast.tiles import attend_tiles
from spacy_deberta.encoder.scores import Heads, Relative, attend_plain
from spacy_deberta.errors import PathError


class AttentionPath(Protocol):
    """Context (B, H, L, D) of sequences of one length."""

    def __call__(
        self, heads: Heads, relative: Relative | None, *, scale: float, dropout: float
    ) -> Tensor:
        """See `scores.attend_plain`."""


PATHS: dict[str, AttentionPath] = {
    "plain": attend_plain,
    "skew": attend_skew,
    "tiles": attend_tiles,
}


def attend_auto(heads: Heads, relative: Relative | None, *, scale: float, dropout: float) -> Tensor:
    """The path that is fastest where the tensors are."""
    path = attend_tiles if heads.query.device.type == "cpu" else attend_skew
    return path(heads, relative, scale=scale, dropout=dropout)


def choose_path(asked: str, *, needs_probabilities: bool = False) -> AttentionPath:
    """The path of that name; "auto" picks the fastest that can run.

    Args:
        asked: a name in PATHS, or "auto".
        needs_probabilities: of all paths, only the plain one forms the attention probabilities.

    Raises:
        PathError: the name stands for no path, or for one that cannot do what is needed.
    """
    if asked == "auto":
        return attend_plain if needs_probabilities else attend_auto
    if asked not in PATHS:
        raise PathError(f"attention={asked!r} is unknown; supported: auto, {', '.join(PATHS)}.")
    if needs_probabilities and PATHS[asked] is not attend_plain:
        raise PathError(
            f"attention={asked!r} forms no attention probabilities. Use attention='auto' or "
            "'plain' where they are asked for."
        )
    return PATHS[asked]
