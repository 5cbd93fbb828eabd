"""Logits to labels, probabilities and entailment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.decoding.classes import (
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    NliLabels,
    activate,
    find_activation,
    find_nli_labels,
    find_problem,
    merge_rows,
    passing,
    rank,
    read_thresholds,
    zero_shot_scores,
)
from spacy_deberta.errors import OptionError

NLI = NliLabels(entailment=2, contradiction=0)


@pytest.mark.parametrize(
    ("declared", "n_labels", "problem", "activation"),
    [
        (None, 3, SINGLE_LABEL, "softmax"),
        (None, 1, MULTI_LABEL, "sigmoid"),
        ("multi_label_classification", 3, MULTI_LABEL, "sigmoid"),
        ("regression", 1, REGRESSION, "none"),
        ("single_label_classification", 1, SINGLE_LABEL, "softmax"),
    ],
)
def test_the_problem_decides_the_activation(
    declared: str | None, n_labels: int, problem: str, activation: str
) -> None:
    assert find_problem(declared, n_labels) == problem
    assert find_activation(problem) == activation


def test_activations_of_small_logits_follow_their_formulas() -> None:
    logits = np.array([0.0, np.log(3.0)])

    np.testing.assert_allclose(activate(logits, "softmax"), [0.25, 0.75])
    np.testing.assert_allclose(activate(logits, "sigmoid"), [0.5, 0.75])
    np.testing.assert_array_equal(activate(logits, "none"), logits)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=6))
def test_activations_stay_finite_and_in_range(values: list[float]) -> None:
    logits = np.array(values, dtype=np.float32)

    assert activate(logits, "softmax").sum() == pytest.approx(1, abs=1e-5)
    assert ((activate(logits, "sigmoid") >= 0) & (activate(logits, "sigmoid") <= 1)).all()


def test_an_unknown_activation_is_an_error() -> None:
    with pytest.raises(OptionError, match="activation='tanh' is unknown; expected one of softmax"):
        activate([0.0], "tanh")


def test_windows_are_averaged_by_their_new_pieces() -> None:
    np.testing.assert_allclose(merge_rows([[4.0, 0], [0, 4]], [3, 1], SINGLE_LABEL), [3, 1])
    np.testing.assert_allclose(merge_rows([[4.0], [0]], [3, 1], REGRESSION), [3])


def test_a_label_of_several_holds_if_one_window_says_so() -> None:
    np.testing.assert_allclose(merge_rows([[4.0, -1], [0, 2]], [3, 1], MULTI_LABEL), [4, 2])


def test_a_single_row_needs_no_weight() -> None:
    np.testing.assert_allclose(merge_rows([[1.0, 2]], [0], SINGLE_LABEL), [1, 2])


def test_ties_keep_the_order_of_the_labels() -> None:
    assert rank([0.2, 0.4, 0.2, 0.4]) == [1, 3, 0, 2]
    assert rank([0.2, 0.4, 0.2, 0.4], 3) == [1, 3, 0]
    assert rank([0.25] * 40) == list(range(40))


def test_thresholds_by_label() -> None:
    labels = ["a", "b", "c"]

    assert passing([0.5, 0.4, 0.9], read_thresholds(0.5, labels)) == [0, 2]
    assert passing([0.5, 0.4, 0.9], read_thresholds({"a": 0.6, "b": 0.3}, labels)) == [1, 2]


def test_thresholds_of_no_label_and_out_of_range_are_errors() -> None:
    with pytest.raises(OptionError, match=r"threshold: \['x'\] are no labels; there are \['a'\]"):
        read_thresholds({"x": 0.5}, ["a"])
    with pytest.raises(OptionError, match=r"threshold=1.5 is out of range"):
        read_thresholds(1.5, ["a"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["contradiction", "neutral", "entailment"], (2, 0)),
        (["neutral", "entailment", "contradiction"], (1, 2)),
        (["ENTAILMENT", "Contradicts"], (0, 1)),
        (["not_entailment", "entailment"], (1, 0)),
        (["entailment", "other"], (0, 1)),
        (["entailment", "b", "c"], (0, None)),
    ],
)
def test_entailment_is_found_by_name(labels: list[str], expected: tuple[int, int | None]) -> None:
    found = find_nli_labels(labels)
    assert (found.entailment, found.contradiction) == expected


def test_names_can_be_given() -> None:
    labels = ["LABEL_0", "LABEL_1", "LABEL_2"]

    assert find_nli_labels(labels, "LABEL_2", "label_0") == NLI
    with pytest.raises(OptionError, match=r"entailment_label=None: no such label among"):
        find_nli_labels(labels)
    with pytest.raises(OptionError, match=r"contradiction_label='no': no such label"):
        find_nli_labels(labels, "LABEL_2", "no")


def test_candidates_compete_by_their_entailment() -> None:
    logits = [[9.0, 0, 0], [0, 9, np.log(3.0)]]

    scores = zero_shot_scores(logits, NLI, multi_label=False)
    np.testing.assert_allclose(scores, [0.25, 0.75])


def test_candidates_that_hold_together_compete_with_their_contradiction() -> None:
    logits = [[np.log(3.0), 50, 0], [0, 50, np.log(3.0)]]

    np.testing.assert_allclose(zero_shot_scores(logits, NLI, multi_label=True), [0.25, 0.75])
    np.testing.assert_allclose(zero_shot_scores(logits[:1], NLI, multi_label=False), [0.25])


def test_contradiction_must_be_known_where_it_is_needed() -> None:
    unknown = NliLabels(2, None)

    zero_shot_scores([[0.0, 0, 0]] * 2, unknown, multi_label=False)
    with pytest.raises(OptionError, match="contradiction_label=None"):
        zero_shot_scores([[0.0, 0, 0]] * 2, unknown, multi_label=True)
