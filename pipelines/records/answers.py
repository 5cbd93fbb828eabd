"""Answers found in texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.records.base import Record


@dataclass(frozen=True, slots=True)
class Answer(Record):
    """A span of a context, or no answer.

    Attributes:
        text: a slice of the context; "" = no answer.
        start: first character.
        end: one behind the last.
        score: probability among all spans of all contexts, and no answer where that competes.
        log_odds: of the span against no answer in its window; without that, start + end logit.
        mass: score with that of the overlapping spans that this one suppressed.
        context_index: number of the context.
        window: number of the window that scored it.
        places: (context, start, end) of each place of the text, with group_by_text.
        reason: why there is no answer; "" for a span.
    """

    text: str
    start: int
    end: int
    score: float
    log_odds: float = 0.0
    mass: float = 0.0
    context_index: int = 0
    window: int = 0
    places: tuple[tuple[int, int, int], ...] = ()
    reason: str = ""

    @classmethod
    def none(cls, score: float = 1.0, reason: str = "the contexts do not say") -> Answer:
        """No answer."""
        return cls("", 0, 0, score, mass=score, reason=reason)

    def __bool__(self) -> bool:
        """Whether it is an answer."""
        return bool(self.text)

    def to_dict(self) -> dict[str, Any]:
        """The four keys of `transformers`, and the others."""
        found: dict[str, Any] = {
            "score": self.score,
            "start": self.start,
            "end": self.end,
            "answer": self.text,
            "log_odds": self.log_odds,
            "mass": self.mass,
            "context_index": self.context_index,
        }
        if self.places:
            found["places"] = [list(place) for place in self.places]
        if self.reason:
            found["reason"] = self.reason
        return found


@dataclass(frozen=True, slots=True)
class Answers(Record):
    """What one question was answered.

    Attributes:
        best: the first of `nbest`.
        nbest: best first, disjoint unless asked otherwise; one of them may be no answer.
        null_score: P(no answer); 0 where it does not compete.
    """

    best: Answer
    nbest: tuple[Answer, ...]
    null_score: float

    def to_dict(self) -> dict[str, Any]:
        """The best answer's keys, `null_score`, and all answers under "nbest"."""
        nbest = [answer.to_dict() for answer in self.nbest]
        return {**self.best.to_dict(), "null_score": self.null_score, "nbest": nbest}
