"""The answer chosen among several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.records.base import Record


@dataclass(frozen=True, slots=True)
class Choice(Record):
    """Which of several choices fits best.

    Attributes:
        index: its number; of equals, the first.
        text: as it was given.
        score: its probability.
        scores: of all choices, adding up to 1.
        choices: all of them, as they were given.
        n_windows: in which its context was read.
        truncated: part of the context was not read.
    """

    index: int
    text: str
    score: float
    scores: tuple[float, ...]
    choices: tuple[str, ...]
    n_windows: int = 1
    truncated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All attributes."""
        return {
            "index": self.index,
            "text": self.text,
            "score": self.score,
            "scores": list(self.scores),
            "choices": list(self.choices),
            "n_windows": self.n_windows,
            "truncated": self.truncated,
        }
