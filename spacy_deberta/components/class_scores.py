"""Scores of `deberta_textcat`: spaCy's for labels, correlation and error for values."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.scorer import Scorer
from spacy.training import Example

from spacy_deberta.decoding.classes import Floats


def score_classes(
    examples: Iterable[Example], *, labels: Sequence[str], mode: str, **settings: Any
) -> dict[str, Any]:
    """Score `doc.cats`.

    Args:
        examples: with predicted Docs that have gone through the pipeline.
        labels: of the component.
        mode: of the component.
        settings: its `threshold` and `positive_label`.

    Returns:
        What `Scorer.score_cats` gives; of a regression cats_score (Pearson's correlation),
        cats_spearman, cats_mae and cats_rmse, means over the labels, None without any truth.
    """
    if mode == "regression":
        return _score_values(list(examples), labels)
    scores: dict[str, Any] = Scorer.score_cats(
        examples,
        "cats",
        labels=labels,
        multi_label=mode == "multilabel",
        threshold=settings.get("threshold"),
        positive_label=settings.get("positive_label"),
    )
    return scores


def make_class_scorer() -> Callable[..., dict[str, Any]]:
    """The scorer, registered as `spacy-deberta.class_scorer.v1`."""
    return score_classes


def _score_values(examples: Sequence[Example], labels: Sequence[str]) -> dict[str, Any]:
    pairs = [_values(examples, label) for label in labels]
    pairs = [(found, wanted) for found, wanted in pairs if len(wanted)]
    metrics: dict[str, Callable[[Floats, Floats], float]] = {
        "cats_score": _correlation,
        "cats_spearman": lambda a, b: _correlation(_ranks(a), _ranks(b)),
        "cats_mae": lambda a, b: float(np.abs(a - b).mean()),
        "cats_rmse": lambda a, b: float(np.sqrt(((a - b) ** 2).mean())),
    }
    scores: dict[str, Any] = {
        name: float(np.mean([metric(*pair) for pair in pairs])) if pairs else None
        for name, metric in metrics.items()
    }
    return {**scores, "cats_score_desc": "Pearson"}


def _values(examples: Sequence[Example], label: str) -> tuple[Floats, Floats]:
    """Predicted and annotated values of one label, where there is an annotation."""
    annotated = [example for example in examples if label in example.reference.cats]
    found = [example.predicted.cats.get(label, 0.0) for example in annotated]
    return np.array(found), np.array([example.reference.cats[label] for example in annotated])


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def _ranks(values: Floats) -> Floats:
    """Places in ascending order; of equal values, the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = ((ends - counts + ends - 1) / 2)[inverse]
    return ranks
