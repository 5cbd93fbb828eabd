"""Classes and values of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.records.base import Record


@dataclass(frozen=True, slots=True)
class LabelScore(Record):
    """A label and how sure the model is of it."""

    label: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Both."""
        return {"label": self.label, "score": self.score}


@dataclass(frozen=True, slots=True)
class Classification(Record):
    """The labels of a text or pair.

    Attributes:
        best: the label with the highest score, the first of equal ones.
        labels: those that hold: the best one; where several may hold, all above their threshold.
        scores: of all labels, or of the `top_k` best, best first.
        multi_label: several labels may hold.
        truncated: part of the input was not read.
        n_windows: in how many the input was read.
    """

    best: LabelScore
    labels: tuple[str, ...]
    scores: tuple[LabelScore, ...]
    multi_label: bool = False
    truncated: bool = False
    n_windows: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The best label and its score, as in `transformers`, and all others."""
        return {
            **self.best.to_dict(),
            "labels": list(self.labels),
            "scores": [one.to_dict() for one in self.scores],
        }


@dataclass(frozen=True, slots=True)
class Regression(Record):
    """The value of a text or pair.

    Attributes:
        value: of the model's first label.
        label: its name.
        values: of all labels, in their order.
        truncated: part of the input was not read.
        n_windows: in how many the input was read.
    """

    value: float
    label: str
    values: tuple[LabelScore, ...] = ()
    truncated: bool = False
    n_windows: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Label and value, which `transformers` calls score."""
        return {"label": self.label, "score": self.value}


@dataclass(frozen=True, slots=True)
class ZeroShot(Record):
    """How well each candidate label fits a text.

    Attributes:
        text: as it was given.
        labels: those that hold: the best one; with multi_label, all above the threshold.
        scores: of all candidates, best first.
    """

    text: str
    labels: tuple[str, ...]
    scores: tuple[LabelScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Text, labels and scores, best first, as in `transformers`."""
        return {
            "sequence": self.text,
            "labels": [one.label for one in self.scores],
            "scores": [one.score for one in self.scores],
        }
