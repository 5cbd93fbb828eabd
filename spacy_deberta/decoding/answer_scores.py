"""Exact match and F1 of answers, as SQuAD 2.0 counts them.

Two answers are the same if their words are, letter case, punctuation and English articles aside.
A question without an answer expects "": anything else scores 0. With several correct answers the
best counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Judged:
    """One question.

    Attributes:
        exact: 1 or 0.
        f1: of the words, from 0 to 1.
        answerable: it has an answer.
    """

    exact: float
    f1: float
    answerable: bool


def answer_words(text: str) -> list[str]:
    """The words that count."""
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def judge_answer(found: str, correct: Sequence[str]) -> Judged:
    """Compare an answer with the correct ones.

    Args:
        found: "" = no answer.
        correct: none, or only such without a word = the question has no answer.
    """
    words = answer_words(found)
    golds = [gold for gold in map(answer_words, correct) if gold]
    against = golds or [[]]
    exact = max(float(words == gold) for gold in against)
    return Judged(exact, max(_f1(words, gold) for gold in against), bool(golds))


def summarize_answers(judged: Iterable[Judged]) -> dict[str, float | None]:
    """Means in percent: over all questions, those with and those without an answer.

    Returns:
        "exact", "f1", "has_answer_exact", "has_answer_f1", "no_answer_exact"; None where there is
        no such question.
    """
    every = list(judged)
    answerable = [each for each in every if each.answerable]
    others = [each for each in every if not each.answerable]
    return {
        "exact": _percent([each.exact for each in every]),
        "f1": _percent([each.f1 for each in every]),
        "has_answer_exact": _percent([each.exact for each in answerable]),
        "has_answer_f1": _percent([each.f1 for each in answerable]),
        "no_answer_exact": _percent([each.exact for each in others]),
    }


def best_threshold(
    null_scores: Sequence[float], gains: Sequence[float], answerable: Sequence[bool]
) -> tuple[float, float]:
    """The threshold on the null score with the best total.

    Args:
        null_scores: P(no answer) of each question; at or above the threshold none is given.
        gains: F1 (or exact match) of the best span of each.
        answerable: whether each has an answer.

    Returns:
        The threshold, halfway between the scores it separates, and the mean score in percent.
    """
    null, gain = np.asarray(null_scores, dtype=float), np.asarray(gains, dtype=float)
    has_answer = np.asarray(answerable, dtype=bool)
    if not len(null):
        return 0.5, 0.0
    order = np.argsort(null, kind="stable")
    null = null[order]
    change = np.where(has_answer[order], gain[order], -1.0)  # when a question is answered
    totals = (~has_answer).sum() + np.concatenate([[0.0], np.cumsum(change)])
    between = np.ones(len(totals), dtype=bool)  # equal scores are not told apart
    between[1:-1] = null[1:] > null[:-1]
    best = int(np.argmax(np.where(between, totals, -np.inf)))
    edges = np.concatenate([[0.0], null, [1.0 + null[-1]]])
    threshold = 1.0 if best == len(null) and null[-1] < 1 else (edges[best] + edges[best + 1]) / 2
    return float(threshold), float(totals[best] / len(null) * 100)


def _f1(words: list[str], gold: list[str]) -> float:
    if not words or not gold:
        return float(words == gold)
    common = sum((Counter(words) & Counter(gold)).values())
    return 2 * common / (len(words) + len(gold))


def _percent(values: Sequence[float]) -> float | None:
    return 100 * sum(values) / len(values) if values else None
