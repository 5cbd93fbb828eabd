"""Scores that mean what they say: temperature, thresholds, and how far off they were.

The temperature T divides logits before the softmax. It is found where held-out gold labels are most
likely (Guo et al. 2017); it changes no ranking. A threshold is what a label's probability must
reach; it is found where F1 is highest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import DataError

Floats = npt.NDArray[np.floating[Any]]

N_BINS = 15  # of the reliability table, each with the same number of examples
LEAST_EXAMPLES = 50

_RANGE = (math.log(0.05), math.log(20.0))  # of the temperature's logarithm
_STEPS = 60  # of the search: the range shrinks by 0.618 in each
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_TINY = 1e-12


@dataclass(frozen=True)
class Calibration:
    """What was learned from held-out examples.

    Attributes:
        temperature: divides logits; 1 = as trained.
        thresholds: least probability of a label that counts, by label; others have their default.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers that would turn every score into nonsense."""
        numbers = {"temperature": self.temperature, **self.thresholds}
        for name, value in numbers.items():
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise DataError(f"calibration: {name}={value!r}, expected a positive number.")
        if self.temperature == 0:
            raise DataError("calibration: temperature=0, expected a positive number.")

    def to_dict(self) -> dict[str, Any]:
        """For pipeline.json."""
        return {"temperature": self.temperature, "thresholds": dict(self.thresholds)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote.

        Raises:
            DataError: something else.
        """
        thresholds = content.get("thresholds", {})
        if set(content) - {"temperature", "thresholds"} or not isinstance(thresholds, Mapping):
            raise DataError(f"calibration: found {content!r}, expected temperature and thresholds.")
        return cls(content.get("temperature", 1.0), dict(thresholds))


@dataclass(frozen=True, eq=False)
class Evidence:
    """One decision of a model on a held-out example.

    Attributes:
        logits: (K,) of the classes, before any temperature; their number may differ from one
            decision to the next.
        gold: number of the right class; or (K,) bool where several labels may be right at once.
    """

    logits: Floats
    gold: int | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Quality:
    """How good probabilities are, on held-out examples.

    Attributes:
        nll: mean negative log likelihood of the gold labels.
        ece: expected calibration error: mean distance of confidence and accuracy over bins.
        brier: mean squared distance of probabilities and gold labels.
    """

    nll: float
    ece: float
    brier: float


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration did.

    Attributes:
        n_examples: decisions it learned from.
        calibration: what it learned.
        before: without it.
        after: with it.
        reliability: of the bins, with it: number, mean confidence, share that is right.
    """

    n_examples: int
    calibration: Calibration
    before: Quality
    after: Quality
    reliability: tuple[tuple[int, float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "n_examples": self.n_examples,
            **self.calibration.to_dict(),
            "before": vars(self.before).copy(),
            "after": vars(self.after).copy(),
            "reliability": [list(row) for row in self.reliability],
        }

    def __str__(self) -> str:
        return (
            f"{self.n_examples} examples, temperature {self.calibration.temperature:.3f}: "
            f"ECE {self.before.ece:.4f} -> {self.after.ece:.4f}, "
            f"NLL {self.before.nll:.4f} -> {self.after.nll:.4f}, "
            f"Brier {self.before.brier:.4f} -> {self.after.brier:.4f}"
        )


def calibrate_scores(
    evidence: Sequence[Evidence], labels: Sequence[str] = (), *, least: int = LEAST_EXAMPLES
) -> CalibrationReport:
    """Learn from held-out decisions.

    Args:
        evidence: of one kind: either all with one right class or all with several labels.
        labels: names of the classes, for thresholds.
        least: fewer decisions than this are refused.

    Raises:
        DataError: too few decisions, both kinds, or logits that are not finite.
    """
    _check(evidence, least)
    is_multi = isinstance(evidence[0].gold, np.ndarray)
    temperature = fit_temperature(evidence)
    thresholds: dict[str, float] = {}
    if is_multi:
        scores = np.stack([_probabilities(one, temperature) for one in evidence])
        gold = np.stack([np.asarray(one.gold) for one in evidence])
        for number, label in enumerate(labels):
            if gold[:, number].any():
                thresholds[label] = fit_threshold(scores[:, number], gold[:, number])
    confidence, right = _confidences(evidence, temperature)
    return CalibrationReport(
        n_examples=len(evidence),
        calibration=Calibration(temperature, thresholds),
        before=measure_quality(evidence, 1.0),
        after=measure_quality(evidence, temperature),
        reliability=reliability_table(confidence, right),
    )


def fit_temperature(evidence: Sequence[Evidence]) -> float:
    """The temperature under which the gold labels are most likely.

    The likelihood has one maximum in 1 / T, so a golden-section search finds it.
    """
    low, high = _RANGE
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = _loss(evidence, math.exp(a)), _loss(evidence, math.exp(b))
    for _ in range(_STEPS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = _loss(evidence, math.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = _loss(evidence, math.exp(b))
    return math.exp((low + high) / 2.0)


def fit_threshold(scores: Floats, gold: npt.NDArray[np.bool_]) -> float:
    """The threshold with the highest F1; halfway between two scores, the highest of equal ones.

    Args:
        scores: (N,) probabilities of one label.
        gold: (N,) whether it is right.

    Raises:
        DataError: no example has the label.
    """
    n_gold = int(gold.sum())
    if not n_gold:
        raise DataError("calibration: no example has the label, so it has no threshold.")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    hits = np.cumsum(gold[order])
    f1 = 2.0 * hits / (np.arange(1, len(ranked) + 1) + n_gold)
    is_cut = np.append(ranked[:-1] > ranked[1:], True)  # equal scores stay together
    best = int(np.argmax(np.where(is_cut, f1, -1.0)))
    below = float(ranked[best + 1]) if best + 1 < len(ranked) else 0.0
    return (float(ranked[best]) + below) / 2.0


def measure_quality(evidence: Sequence[Evidence], temperature: float) -> Quality:
    """Likelihood, calibration error and Brier score under a temperature."""
    confidence, right = _confidences(evidence, temperature)
    squares = []
    for one in evidence:
        wanted = _one_hot(one)
        squares.append(float(((_probabilities(one, temperature) - wanted) ** 2).sum()))
    return Quality(
        nll=_loss(evidence, temperature),
        ece=expected_calibration_error(confidence, right),
        brier=float(np.mean(squares)),
    )


def expected_calibration_error(
    confidence: Floats, right: npt.NDArray[np.bool_], n_bins: int = N_BINS
) -> float:
    """Mean distance of confidence and accuracy over bins of equally many decisions."""
    table = reliability_table(confidence, right, n_bins)
    total = sum(n for n, _, _ in table)
    return sum(n * abs(sure - share) for n, sure, share in table) / max(total, 1)


def reliability_table(
    confidence: Floats, right: npt.NDArray[np.bool_], n_bins: int = N_BINS
) -> tuple[tuple[int, float, float], ...]:
    """Bins of equally many decisions, by confidence: number, mean confidence, share right."""
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(n_bins, len(order))) if len(order) else []
    return tuple(
        (len(part), float(confidence[part].mean()), float(right[part].mean())) for part in parts
    )


def _check(evidence: Sequence[Evidence], least: int) -> None:
    if len(evidence) < max(least, 1):
        raise DataError(
            f"calibration: found {len(evidence)} examples, expected {max(least, 1)} or more; with "
            "fewer, what it learns is noise. Give more, or force=True."
        )
    if len({isinstance(one.gold, np.ndarray) for one in evidence}) > 1:
        raise DataError("calibration: found one right class and several; expected one kind.")
    for number, one in enumerate(evidence):
        if not len(one.logits) or not np.isfinite(one.logits).all():
            raise DataError(f"calibration: example {number}: logits {one.logits} are not finite.")


def _loss(evidence: Sequence[Evidence], temperature: float) -> float:
    """Mean negative log likelihood of the gold labels."""
    total = 0.0
    for one in evidence:
        scaled = one.logits.astype(np.float64) / temperature
        if isinstance(one.gold, np.ndarray):
            signed = np.where(one.gold, -scaled, scaled)
            total += float(np.logaddexp(0.0, signed).sum())
        else:
            total += float(np.logaddexp.reduce(scaled) - scaled[one.gold])
    return total / len(evidence)


def _probabilities(one: Evidence, temperature: float) -> npt.NDArray[np.float64]:
    scaled = one.logits.astype(np.float64) / temperature
    if isinstance(one.gold, np.ndarray):
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)))
    return np.asarray(np.exp(scaled - np.logaddexp.reduce(scaled)))


def _one_hot(one: Evidence) -> npt.NDArray[np.float64]:
    if isinstance(one.gold, np.ndarray):
        return one.gold.astype(np.float64)
    wanted = np.zeros(len(one.logits))
    wanted[one.gold] = 1.0
    return wanted


def _confidences(
    evidence: Sequence[Evidence], temperature: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How sure each decision is, and whether it is right; with several labels, each is one."""
    sure: list[float] = []
    right: list[bool] = []
    for one in evidence:
        found = _probabilities(one, temperature)
        if isinstance(one.gold, np.ndarray):
            sure += found.tolist()
            right += one.gold.tolist()
        else:
            best = int(found.argmax())
            sure.append(float(found[best]))
            right.append(best == one.gold)
    return np.asarray(sure), np.asarray(right, dtype=np.bool_)
