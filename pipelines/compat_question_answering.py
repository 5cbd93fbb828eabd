"""Question answering as `transformers` 4.57.6 does it: its scores and n-best.

Scores are normalized within each window, and those of one text are added wherever it stands. Kept
for comparison; the module `question_answering` says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.compat_offsets import FastOffsets, Ints
from spacy_deberta.decoding.answer_windows import QuestionWindow

Floats = npt.NDArray[np.float32]

_MASKED = np.float32(-10000.0)  # logit of the question's pieces
_NO_NULL = 1_000_000.0


class CompatOptions(Protocol):
    """What of the options matters here."""

    @property
    def top_k(self) -> int:
        """Answers."""

    @property
    def max_answer_len(self) -> int:
        """Pieces of an answer."""

    @property
    def handle_impossible_answer(self) -> bool:
        """No answer competes."""

    @property
    def align_to_words(self) -> bool:
        """Answers are whole words."""


def compat_answers(
    context: str,
    offsets: FastOffsets,
    windows: Sequence[tuple[QuestionWindow, Floats]],
    options: CompatOptions,
) -> list[dict[str, Any]]:
    """The n best answers to one question.

    Args:
        context: the text.
        offsets: of its pieces.
        windows: each with its (n, 2) start and end logits.
        options: see there.
    """
    answers: dict[str, dict[str, Any]] = {}
    null = _NO_NULL
    for window, logits in windows:
        start, end = _probabilities(window, logits)
        null = min(null, float(start[0] * end[0]))
        start[0] = end[0] = 0.0
        for first, last, score in _candidates(window, start, end, options):
            span = _characters(window, offsets, (first, last), options)
            text = context[span[0] : span[1]]
            known = answers.setdefault(
                text.lower(), {"score": 0.0, "start": span[0], "end": span[1], "answer": text}
            )
            known["score"] += score
    found = list(answers.values())
    if options.handle_impossible_answer:
        found.append({"score": null, "start": 0, "end": 0, "answer": ""})
    return sorted(found, key=lambda answer: -answer["score"])[: options.top_k]


def _probabilities(window: QuestionWindow, logits: Floats) -> tuple[Floats, Floats]:
    """Softmax of start and end over the context and [CLS]."""
    allowed = _allowed(window)
    masked = np.where(allowed[:, None], logits.astype(np.float32), _MASKED)
    weights = np.exp(masked - masked.max(0))
    probabilities = weights / weights.sum(0)
    return probabilities[:, 0].copy(), probabilities[:, 1].copy()


def _allowed(window: QuestionWindow) -> npt.NDArray[np.bool_]:
    allowed = np.zeros(len(window.ids), dtype=bool)
    allowed[window.offset : window.offset + window.last - window.first] = True
    allowed[np.array(window.ids) == window.ids[0]] = True
    return allowed


def _candidates(
    window: QuestionWindow, start: Floats, end: Floats, options: CompatOptions
) -> list[tuple[int, int, float]]:
    """Places of first and last piece, best first; 2k + 10 of them leave room for equal texts."""
    wanted = 2 * options.top_k + 10 if options.align_to_words else options.top_k
    outer = np.tril(np.triu(start[:, None] @ end[None]), options.max_answer_len - 1)
    flat = outer.flatten()
    if wanted == 1:
        order = np.array([np.argmax(flat)])
    elif len(flat) < wanted:
        order = np.argsort(-flat)
    else:
        best = np.argpartition(-flat, wanted)[:wanted]
        order = best[np.argsort(-flat[best])]
    allowed = _allowed(window)
    places = zip(*np.unravel_index(order, outer.shape), strict=True)
    return [(int(i), int(j), float(outer[i, j])) for i, j in places if allowed[i] and allowed[j]]


def _characters(
    window: QuestionWindow, offsets: FastOffsets, places: tuple[int, int], options: CompatOptions
) -> tuple[int, int]:
    """Characters between two places of a window; those outside the context stand at 0."""
    first, last = (place - window.offset + window.first for place in places)
    inside = [window.first <= piece < window.last for piece in (first, last)]
    if all(inside) and options.align_to_words:
        first, last = _whole_words(offsets.words, (first, last), window)
    start = int(offsets.starts[first]) if inside[0] else 0
    return start, int(offsets.ends[last]) if inside[1] else 0


def _whole_words(words: Ints, pieces: tuple[int, int], window: QuestionWindow) -> tuple[int, int]:
    """First and last piece, grown to whole words, or what the window has of them."""
    shown = words[window.first : window.last]
    begin = np.searchsorted(shown, words[pieces[0]], side="left")
    end = np.searchsorted(shown, words[pieces[1]], side="right")
    return window.first + int(begin), window.first + int(end) - 1
