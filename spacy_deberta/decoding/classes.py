"""What the logits of a sequence mean: labels, probabilities, values, entailment.

    logits of each window ──merge_rows──> logits ──activate──> scores ──rank, passing──> labels

Where scores are equal, the order of the labels decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import OptionError

Floats = npt.NDArray[np.floating]

REGRESSION = "regression"
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
PROBLEMS = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)

ACTIVATIONS = ("softmax", "sigmoid", "none")

_ENTAILS = ("entail",)
_CONTRADICTS = ("contradict", "not_entail", "non_entail", "not entail", "non-entail", "not-entail")
_TWO = 2  # labels of an NLI model that knows entailment and its absence


@dataclass(frozen=True)
class NliLabels:
    """Where the logits of a model of natural language inference are.

    Attributes:
        entailment: number of that label.
        contradiction: number of its opposite; None if no label's name says so.
    """

    entailment: int
    contradiction: int | None


def find_problem(declared: str | None, n_labels: int) -> str:
    """What kind of problem a head was trained for.

    Args:
        declared: problem_type of the config, if it has one.
        n_labels: number of logits.

    Returns:
        One of PROBLEMS. A lone label that nothing is said about is one of several labels that may
        hold together, as `transformers` takes it: its logit goes through a sigmoid.
    """
    if declared in PROBLEMS:
        return str(declared)
    return MULTI_LABEL if n_labels == 1 else SINGLE_LABEL


def find_activation(problem: str) -> str:
    """The function from logits to scores that belongs to a problem."""
    return {REGRESSION: "none", MULTI_LABEL: "sigmoid", SINGLE_LABEL: "softmax"}[problem]


def activate(logits: npt.ArrayLike, activation: str) -> Floats:
    """Logits to scores.

    Args:
        logits: (..., n_labels), of any size: nothing overflows.
        activation: one of ACTIVATIONS.

    Returns:
        The same shape, in the logits' precision.

    Raises:
        OptionError: an unknown activation.
    """
    values = np.asarray(logits)
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    if activation == "sigmoid":
        small = np.exp(-np.abs(values))
        return np.where(values >= 0, 1, small) / (1 + small)
    if activation == "none":
        return values
    raise OptionError(
        f"activation={activation!r} is unknown; expected one of {', '.join(ACTIVATIONS)}."
    )


def class_losses(logits: npt.ArrayLike, truths: npt.ArrayLike, problem: str) -> Floats:
    """The loss at each logit; its derivative is scores - truths, twice that in a regression.

    Args:
        logits: (B, n_labels).
        truths: (B, n_labels): values of a regression, probabilities otherwise.
        problem: one of PROBLEMS.

    Returns:
        (B, n_labels); of exclusive labels, each row's cross-entropy is its sum.
    """
    found, wanted = np.asarray(logits), np.asarray(truths)
    if problem == REGRESSION:
        return (found - wanted) ** 2
    if problem == MULTI_LABEL:
        return np.logaddexp(0, found) - wanted * found
    logs = found - found.max(axis=-1, keepdims=True)
    return -wanted * (logs - np.log(np.exp(logs).sum(axis=-1, keepdims=True)))


def merge_rows(logits: npt.ArrayLike, weights: npt.ArrayLike, problem: str) -> Floats:
    """The logits of a text from those of its windows.

    Args:
        logits: (W, n_labels).
        weights: (W,) how many pieces each window is the first to show, so that what two windows
            share counts once.
        problem: one of PROBLEMS. Labels that may hold together keep their best window: one that
            is named in a single place holds for the whole text. Otherwise windows are averaged.

    Returns:
        (n_labels,).
    """
    values = np.asarray(logits)
    if len(values) == 1:
        return values[0]
    if problem == MULTI_LABEL:
        return values.max(axis=0)
    shares = np.asarray(weights, dtype=np.float64)
    merged: Floats = (shares / shares.sum()) @ values
    return merged


def rank(scores: npt.ArrayLike, top_k: int | None = None) -> list[int]:
    """Numbers of the labels from the best score down; of equal scores, the lower number first.

    Args:
        scores: (n_labels,).
        top_k: how many; None = all.
    """
    order: list[int] = np.argsort(-np.asarray(scores), kind="stable")[:top_k].tolist()
    return order


def passing(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> list[int]:
    """Numbers of the labels whose score is at least their threshold, in the labels' order.

    Args:
        scores: (n_labels,).
        thresholds: one for all, or (n_labels,).
    """
    found: list[int] = np.flatnonzero(np.asarray(scores) >= np.asarray(thresholds)).tolist()
    return found


def read_thresholds(given: float | Mapping[str, float], labels: Sequence[str]) -> Floats:
    """One threshold per label.

    Args:
        given: one for all; or by label, 0.5 for those that are not there.
        labels: names of all labels.

    Returns:
        (n_labels,).

    Raises:
        OptionError: a name that is no label, or a threshold outside 0 to 1.
    """
    by_label = given if isinstance(given, Mapping) else dict.fromkeys(labels, given)
    unknown = sorted(set(by_label) - set(labels))
    if unknown:
        raise OptionError(f"threshold: {unknown} are no labels; there are {list(labels)}.")
    chosen = [by_label.get(label, 0.5) for label in labels]
    is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in chosen)
    values = np.array(chosen if is_number else [np.nan], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise OptionError(f"threshold={given!r} is out of range; expected 0 to 1.")
    return values


def find_nli_labels(
    labels: Sequence[str], entailment: str | None = None, contradiction: str | None = None
) -> NliLabels:
    """Find entailment and contradiction by the labels' names, in any order and case.

    Args:
        labels: names of all labels, by number.
        entailment: the name to look for; None = one that begins with "entail".
        contradiction: the same; None = one that begins with "contradict" or "not_entail", or of
            two labels the other one.

    Raises:
        OptionError: a name that is not there, or none that says entailment.
    """
    lower = [label.lower() for label in labels]
    found = _find(lower, entailment, _ENTAILS)
    opposite = _find(lower, contradiction, _CONTRADICTS)
    if opposite is None and found is not None and len(labels) == _TWO and contradiction is None:
        opposite = 1 - found
    missing = [
        f"{what}_label={name!r}"
        for what, name, number in (
            ("entailment", entailment, found),
            ("contradiction", contradiction, opposite),
        )
        if number is None and (name is not None or what == "entailment")
    ]
    if missing or found is None:
        raise OptionError(
            f"{', '.join(missing)}: no such label among {list(labels)}. Name the model's label "
            "for 'the second text follows from the first' by entailment_label=, and its opposite "
            "by contradiction_label=."
        )
    return NliLabels(found, opposite)


def zero_shot_scores(logits: npt.ArrayLike, nli: NliLabels, *, multi_label: bool) -> Floats:
    """How well each candidate label fits.

    Args:
        logits: (C, n_classes) of each hypothesis, one per candidate.
        nli: where entailment and contradiction are.
        multi_label: candidates may hold together: each one's entailment against its contradiction.
            Otherwise, unless there is one only, they compete by their entailment.

    Returns:
        (C,); without multi_label adding up to 1.

    Raises:
        OptionError: no contradiction is known where it is needed.
    """
    values = np.asarray(logits)
    if not multi_label and len(values) > 1:
        return activate(values[:, nli.entailment], "softmax")
    if nli.contradiction is None:
        raise OptionError(
            "contradiction_label=None: a single candidate, and several with multi_label=True, "
            "are scored against contradiction, and no label's name says so. Give its name."
        )
    return activate(values[:, [nli.contradiction, nli.entailment]], "softmax")[:, 1]


def _find(labels: Sequence[str], name: str | None, prefixes: tuple[str, ...]) -> int | None:
    if name is not None:
        return labels.index(name.lower()) if name.lower() in labels else None
    return next((n for n, label in enumerate(labels) if label.startswith(prefixes)), None)
