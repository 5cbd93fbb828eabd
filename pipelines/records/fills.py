"""What may stand in masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.records.base import Record


@dataclass(frozen=True, slots=True)
class Fill(Record):
    """What may stand in a mask.

    Attributes:
        text: the word: a target as it was given, or a piece without the mark of its space.
        pieces: its numbers in the vocabulary.
        score: probability; of several pieces that of their chain.
        relative: share among the targets; None if none were given.
        sequence: the given text with the word in place of this mask.
    """

    text: str
    pieces: tuple[int, ...]
    score: float
    relative: float | None
    sequence: str

    def to_dict(self) -> dict[str, Any]:
        """The token is a list of numbers where there are several pieces."""
        token = self.pieces[0] if len(self.pieces) == 1 else list(self.pieces)
        return {
            "score": self.score,
            "token": token,
            "token_str": self.text,
            "sequence": self.sequence,
        }


@dataclass(frozen=True, slots=True)
class MaskFill(Record):
    """The candidates of one mask, each for itself.

    Attributes:
        start: first character of the mask in the text.
        end: one behind its last.
        fills: best first.
    """

    start: int
    end: int
    fills: tuple[Fill, ...]

    def to_dict(self) -> dict[str, Any]:
        """Where the mask is, and its candidates."""
        fills = [fill.to_dict() for fill in self.fills]
        return {"start": self.start, "end": self.end, "fills": fills}


@dataclass(frozen=True, slots=True)
class JointFill(Record):
    """What may stand in all masks of a text together.

    Attributes:
        texts: the word in each mask.
        score: product of the probabilities of the words, each given those filled before it.
        sequence: the given text with all masks filled.
    """

    texts: tuple[str, ...]
    score: float
    sequence: str

    def to_dict(self) -> dict[str, Any]:
        """All attributes."""
        return {"score": self.score, "texts": list(self.texts), "sequence": self.sequence}


@dataclass(frozen=True, slots=True)
class FillResult(Record):
    """One text, its masks filled.

    Attributes:
        text: as it was given.
        masks: one per mask, in order.
        joint: all masks filled together, best first; () where that was not asked for.
        n_windows: windows in which the text was read around its masks.
    """

    text: str
    masks: tuple[MaskFill, ...]
    joint: tuple[JointFill, ...]
    n_windows: int

    def to_dict(self) -> dict[str, Any]:
        """The text, its masks and the joint fillings."""
        return {
            "text": self.text,
            "masks": [mask.to_dict() for mask in self.masks],
            "joint": [filling.to_dict() for filling in self.joint],
        }
