"""Heads that judge a whole sequence, and the loss that fits their labels."""

import math

import pytest
import torch
from torch import Tensor, nn

from spacy_deberta.errors import DataError
from spacy_deberta.heads import (
    ChoiceHead,
    ContextPooler,
    SequenceHead,
    choice_loss,
    sequence_loss,
)
from tests.oracle_heads import mean_log_loss
from tests.tiny import tiny_config


def random_rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_the_pooler_is_an_activation_over_a_dense_layer() -> None:
    pooler = ContextPooler(tiny_config(pooler_hidden_act="tanh"))
    rows = random_rows(3, 16)
    expected = torch.tanh(rows @ pooler.dense.weight.T + pooler.dense.bias)
    torch.testing.assert_close(pooler(rows), expected)
    assert set(pooler.state_dict()) == {"dense.weight", "dense.bias"}


def test_the_pooler_is_gelu_by_default_whatever_the_encoder_uses() -> None:
    pooler = ContextPooler(tiny_config(hidden_act="relu"))
    rows = random_rows(3, 16)
    dense = rows @ pooler.dense.weight.T + pooler.dense.bias
    torch.testing.assert_close(pooler(rows), dense * (1 + torch.erf(dense / math.sqrt(2))) / 2)


def test_the_pooler_drops_out_before_its_dense_layer() -> None:
    pooler = ContextPooler(tiny_config(pooler_dropout=0.5)).train()
    nn.init.eye_(pooler.dense.weight)
    pooled = pooler(torch.ones(50, 16))
    torch.testing.assert_close(pooled.unique(), nn.functional.gelu(torch.tensor([0.0, 2.0])))
    assert torch.equal(pooler.eval()(torch.ones(1, 16)), pooler(torch.ones(1, 16)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, 0.25), ({"cls_dropout": 0.5}, 0.5), ({"cls_dropout": 0.0}, 0.0)],
    ids=["hidden", "own", "none"],
)
@pytest.mark.parametrize("head", [SequenceHead, ChoiceHead])
def test_the_classifier_has_its_own_dropout_or_the_hidden_one(
    head: type[SequenceHead | ChoiceHead], changes: dict[str, float], expected: float
) -> None:
    made = head(tiny_config(hidden_dropout_prob=0.25, **changes))
    assert made.dropout.p == expected
    assert made.pooler.dropout.p == 0.0


def test_a_sequence_head_classifies_the_pooled_row() -> None:
    head = SequenceHead(tiny_config(num_labels=5)).eval()
    rows = random_rows(4, 16)
    expected = head.pooler(rows) @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head(rows), expected)
    assert set(head.state_dict()) == {
        "pooler.dense.weight",
        "pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_a_choice_head_groups_the_choices_of_a_question() -> None:
    head = ChoiceHead(tiny_config(num_labels=5)).eval()
    rows = random_rows(6, 16)
    logits = head(rows, 3)
    assert logits.shape == (2, 3)
    for question in range(2):
        for choice in range(3):
            alone = head(rows[question * 3 + choice][None], 1)
            torch.testing.assert_close(logits[question, choice], alone[0, 0])


def test_heads_start_as_the_encoder_does() -> None:
    torch.manual_seed(0)
    head = SequenceHead(tiny_config(hidden_size=256, num_labels=100, initializer_range=0.05))
    for module in (head.pooler.dense, head.classifier):
        assert module.weight.std().item() == pytest.approx(0.05, rel=0.03)
        assert not module.bias.any()


def test_class_labels_mean_cross_entropy() -> None:
    logits = random_rows(4, 3)
    labels = [2, -1, 0, -100]
    expected = mean_log_loss(logits, labels)
    given = torch.tensor(labels)
    for problem in (None, "single_label_classification"):
        config = tiny_config(num_labels=3, problem_type=problem)
        torch.testing.assert_close(sequence_loss(logits, given, config), expected)
        torch.testing.assert_close(sequence_loss(logits, given[:, None], config), expected)
        torch.testing.assert_close(sequence_loss(logits, given.int(), config), expected)


@pytest.mark.parametrize("problem", [None, "regression"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_one_label_means_squared_error(problem: str | None, dtype: torch.dtype) -> None:
    config = tiny_config(num_labels=1, problem_type=problem)
    logits, labels = torch.tensor([[0.5], [2.0]]), torch.tensor([1, -1], dtype=dtype)
    expected = torch.tensor((0.5**2 + 3.0**2) / 2)
    torch.testing.assert_close(sequence_loss(logits, labels, config), expected)
    torch.testing.assert_close(sequence_loss(logits, labels[:, None], config), expected)


def test_a_regression_of_several_values_is_the_mean_over_all_of_them() -> None:
    config = tiny_config(num_labels=2, problem_type="regression")
    loss = sequence_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1, 5]]), config)
    torch.testing.assert_close(loss, torch.tensor(4.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_several_right_labels_mean_one_decision_each(dtype: torch.dtype) -> None:
    config = tiny_config(num_labels=3, problem_type="multi_label_classification")
    logits = random_rows(2, 3)
    labels = torch.tensor([[1, 0, 1], [0, 0, -1]], dtype=dtype)
    p = torch.sigmoid(logits)
    truth = torch.stack([p[0, 0], 1 - p[0, 1], p[0, 2], 1 - p[1, 0], 1 - p[1, 1]])
    torch.testing.assert_close(sequence_loss(logits, labels, config), -truth.log().mean())


def test_targets_of_the_shape_of_the_logits_are_soft_labels() -> None:
    logits = random_rows(2, 3)
    labels = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    p = torch.softmax(logits, -1)
    expected = -((labels * p.log()).sum(1)).mean()
    loss = sequence_loss(logits, labels, tiny_config(num_labels=3))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"num_labels": 3}, (0,)),
        ({"num_labels": 3}, (0, 3)),
        ({"num_labels": 1}, (0,)),
        ({"num_labels": 3, "problem_type": "regression"}, (0, 3)),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, (0, 3)),
    ],
)
def test_an_empty_batch_gives_zero_on_the_graph(
    changes: dict[str, object], shape: tuple[int, ...]
) -> None:
    config = tiny_config(**changes)
    head = SequenceHead(config)
    loss = sequence_loss(head(torch.zeros(0, 16)), torch.zeros(shape), config)
    assert loss.item() == 0.0
    loss.backward()
    assert not head.classifier.weight.grad.any()


@pytest.mark.parametrize(
    ("changes", "labels", "expected"),
    [
        ({"num_labels": 3}, torch.zeros(2), r"\(4,\)"),
        ({"num_labels": 3}, torch.zeros(4, 2), r"\(4, 3\)"),
        ({"num_labels": 1}, torch.zeros(4, 2), r"\(4, 1\)"),
        ({"num_labels": 3, "problem_type": "regression"}, torch.zeros(4), r"\(4, 3\)"),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            torch.zeros(4),
            r"\(4, 3\)",
        ),
        (
            {"num_labels": 3, "problem_type": "single_label_classification"},
            torch.zeros(4, 3),
            r"\(4,\)",
        ),
    ],
)
def test_labels_that_do_not_fit_the_problem_are_refused(
    changes: dict[str, object], labels: Tensor, expected: str
) -> None:
    config = tiny_config(**changes)
    with pytest.raises(DataError, match=rf"^labels: found shape \(.*\), expected {expected}, "):
        sequence_loss(torch.zeros(4, config.num_labels), labels, config)


def test_the_loss_of_choices_is_cross_entropy_over_them() -> None:
    logits = random_rows(3, 4)
    labels = [3, -1, 0]
    loss = choice_loss(logits, torch.tensor(labels))
    torch.testing.assert_close(loss, mean_log_loss(logits, labels))
