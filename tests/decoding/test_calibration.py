"""Temperature, thresholds and calibration error against plain computations."""

import math

import numpy as np
import pytest

from spacy_deberta.decoding.calibration import (
    Calibration,
    Evidence,
    calibrate_scores,
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    measure_quality,
    reliability_table,
)
from spacy_deberta.errors import DataError


def drawn(n: int, scale: float, seed: int = 0) -> list[Evidence]:
    """Decisions whose gold classes are drawn from softmax(logits / scale)."""
    random = np.random.RandomState(seed)
    found = []
    for _ in range(n):
        logits = random.standard_normal(4) * 3.0
        scores = np.exp(logits / scale)
        found.append(Evidence(logits, int(random.choice(4, p=scores / scores.sum()))))
    return found


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(scale: float) -> None:
    assert fit_temperature(drawn(4000, scale)) == pytest.approx(scale, rel=0.08)


def test_the_temperature_is_the_minimum_of_the_likelihood() -> None:
    evidence = drawn(300, 2.0)
    best = fit_temperature(evidence)
    at = [measure_quality(evidence, best * factor).nll for factor in (0.97, 1.0, 1.03)]
    assert at[1] == min(at)


def test_calibrating_lowers_error_and_keeps_rankings() -> None:
    report = calibrate_scores(drawn(2000, 2.5))
    assert report.after.ece < 0.04 < report.before.ece
    assert report.after.brier < report.before.brier
    assert sum(n for n, _, _ in report.reliability) == 2000
    assert "ECE" in str(report)


def test_quality_by_hand() -> None:
    evidence = [Evidence(np.log([0.8, 0.2]), 0), Evidence(np.log([0.6, 0.4]), 1)]
    found = measure_quality(evidence, 1.0)
    assert found.nll == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert found.brier == pytest.approx((0.04 + 0.04 + 0.36 + 0.36) / 2)
    assert found.ece == pytest.approx((abs(0.8 - 1) + abs(0.6 - 0)) / 2)


def test_bins_have_equal_numbers() -> None:
    confidence = np.linspace(0, 1, 20)
    right = np.arange(20) >= 10
    table = reliability_table(confidence, right, 4)
    assert [n for n, _, _ in table] == [5, 5, 5, 5]
    assert [share for _, _, share in table] == [0, 0, 1, 1]
    expected = np.mean([abs(confidence[i : i + 5].mean() - (i >= 10)) for i in (0, 5, 10, 15)])
    assert expected_calibration_error(confidence, right, 4) == pytest.approx(expected)
    assert reliability_table(np.array([]), np.array([], dtype=bool)) == ()


def test_a_threshold_has_the_best_f1_of_all_cuts() -> None:
    random = np.random.RandomState(3)
    for _ in range(20):
        gold = random.rand(30) < 0.4
        gold[0] = True
        scores = np.round(np.clip(gold * 0.3 + random.rand(30) * 0.7, 0, 1), 1)  # with ties
        cuts = np.unique(np.concatenate([[0.0], scores + 1e-9, scores - 1e-9]))
        best = max(f1(scores >= cut, gold) for cut in cuts)
        assert f1(scores >= fit_threshold(scores, gold), gold) == pytest.approx(best)
    with pytest.raises(DataError, match="no example has the label"):
        fit_threshold(np.array([0.5]), np.array([False]))


def f1(found: np.ndarray, gold: np.ndarray) -> float:
    return 2.0 * float((found & gold).sum()) / float(found.sum() + gold.sum())


def test_several_labels_get_a_threshold_each() -> None:
    random = np.random.RandomState(1)
    evidence = []
    for _ in range(400):
        logits = random.standard_normal(3) * 2
        gold = random.rand(3) < 1 / (1 + np.exp(-(logits - 1.5)))
        gold[2] = False
        evidence.append(Evidence(logits, gold))
    report = calibrate_scores(evidence, ["a", "b", "never"])
    assert set(report.calibration.thresholds) == {"a", "b"}
    assert report.before.nll > 0


def test_what_cannot_be_learned_from_is_refused() -> None:
    one = Evidence(np.array([0.0, 1.0]), 1)
    with pytest.raises(DataError, match="found 3 examples, expected 50"):
        calibrate_scores([one] * 3)
    with pytest.raises(DataError, match="expected 1 or more"):
        calibrate_scores([], least=0)
    with pytest.raises(DataError, match="expected one kind"):
        calibrate_scores([one, Evidence(np.zeros(2), np.array([True, False]))], least=1)
    with pytest.raises(DataError, match="not finite"):
        calibrate_scores([Evidence(np.array([0.0, np.nan]), 1)], least=1)


def test_huge_logits_stay_finite() -> None:
    report = calibrate_scores([Evidence(np.array([1e4, -1e4, 0.0]), 1)] * 3, least=1)
    assert math.isfinite(report.after.nll)


@pytest.mark.parametrize(
    "content",
    [
        {"temperature": 0},
        {"temperature": "1"},
        {"t": 1.0},
        {"thresholds": {"a": math.nan}},
        {"thresholds": [1]},
    ],
)
def test_nonsense_in_files_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(DataError, match="calibration"):
        Calibration.from_dict(content)


def test_files_give_back_what_was_written() -> None:
    kept = Calibration(1.25, {"a": 0.5})
    assert Calibration.from_dict(kept.to_dict()) == kept
