"""What pipelines return: frozen, plain Python numbers, equal by value.

`to_dict` gives the keys of `transformers`, and passes through `json.dumps`. Offsets count
characters of the text that was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


class Record:
    """Base of all records."""

    __slots__ = ()

    def to_dict(self) -> Any:
        """The record with the keys that `transformers` uses; only what JSON knows."""
        raise NotImplementedError

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


# --- all tasks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed(Record):
    """Stands for the record of an input that failed, with on_error="return".

    Attributes:
        index: of the input, from 0.
        error_type: name of the error's class.
        message: of the error.
        preview: beginning of the input.
    """

    index: int
    error_type: str
    message: str
    preview: str

    def to_dict(self) -> dict[str, Any]:
        """Index, class, message and preview."""
        return {
            "index": self.index,
            "error_type": self.error_type,
            "message": self.message,
            "preview": self.preview,
        }


# --- feature-extraction ---------------------------------------------------------------------------


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


# --- fill-mask ------------------------------------------------------------------------------------


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


# --- multiple-choice ------------------------------------------------------------------------------


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


# --- question-answering ---------------------------------------------------------------------------


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


# --- text-classification --------------------------------------------------------------------------


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


# --- token-classification -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entity(Record):
    """A span of a text with a label.

    Attributes:
        text: a slice of the text; with hf_compat what `transformers` calls word.
        label: its type, without a prefix.
        start: first character.
        end: one behind the last.
        score: probability that exactly this span with this label is there; or a mean, if so asked.
        word_start: number of its first word: of those given, of the Doc's tokens, or of those that
            the text was split into; -1 with hf_compat.
        word_end: one behind the last.
    """

    text: str
    label: str
    start: int
    end: int
    score: float
    word_start: int = -1
    word_end: int = -1

    def to_dict(self) -> dict[str, Any]:
        """The five keys of `transformers`."""
        return {
            "entity_group": self.label,
            "score": self.score,
            "word": self.text,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class PieceTag(Record):
    """One piece with its best tag, for aggregation="none".

    Attributes:
        piece: as it stands in the vocabulary.
        label: the tag, with its prefix.
        start: first character.
        end: one behind the last.
        score: probability of the tag.
        index: of the piece in its text, [CLS] being 0.
    """

    piece: str
    label: str
    start: int
    end: int
    score: float
    index: int

    def to_dict(self) -> dict[str, Any]:
        """The six keys of `transformers`."""
        return {
            "entity": self.label,
            "score": self.score,
            "index": self.index,
            "word": self.piece,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class Entities(Record):
    """What was found in one text; a sequence of its entities.

    Attributes:
        text: that offsets count in; words that were given are joined in it.
        found: in order of their start.
        n_windows: in which the text was read.
    """

    text: str
    found: tuple[Entity | PieceTag, ...]
    n_windows: int = 1

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Entity | PieceTag]:
        return iter(self.found)

    def __getitem__(self, index: int) -> Entity | PieceTag:
        return self.found[index]

    def to_dict(self) -> list[dict[str, Any]]:
        """A list with the keys of `transformers`."""
        return [entity.to_dict() for entity in self.found]


# --- zero-shot-classification ---------------------------------------------------------------------


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
