"""The ReCoRD head against its formula, entity by entity."""

import pytest
import torch
from torch import Tensor, nn

from spacy_deberta.heads import ABSENT_LOGIT, RecordHead, record_loss
from tests.oracle_heads import choose_entity
from tests.tiny import tiny_config

ENTITIES = (((2, 3), (4,), (1, 5, 6)), ((3,), (1, 2)))  # of two sequences, by place
LENGTHS = (7, 4)
PIECES = torch.tensor([[2, 3, -1], [4, -1, -1], [1, 5, 6], [10, -1, -1], [8, 9, -1]])


@pytest.fixture
def head() -> RecordHead:
    torch.manual_seed(0)
    made = RecordHead(tiny_config(hidden_dropout_prob=0.1)).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def random_hidden() -> Tensor:
    return torch.randn(sum(LENGTHS), 16, generator=torch.Generator().manual_seed(1))


def first_rows(hidden: Tensor) -> Tensor:
    return hidden[[0, 0, 0, LENGTHS[0], LENGTHS[0]]]


def test_logits_follow_the_formula(head: RecordHead) -> None:
    hidden = random_hidden()
    logits = head(hidden, first_rows(hidden), PIECES)
    weights = head.state_dict()
    expected = [
        logit
        for rows, entities in zip(hidden.split(LENGTHS), ENTITIES, strict=True)
        for logit in choose_entity(rows, entities, weights)
    ]
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-5, rtol=0)
    assert set(weights) == {"proj.weight", "proj.bias", "classifier.weight", "classifier.bias"}


def test_an_entity_without_a_piece_is_never_chosen_and_never_trained(head: RecordHead) -> None:
    hidden = random_hidden().requires_grad_()
    pieces = PIECES.clone()
    pieces[1] = -1
    logits = head(hidden, first_rows(hidden), pieces)
    assert logits[1].item() == ABSENT_LOGIT
    others = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(logits[others], head(hidden, first_rows(hidden), PIECES)[others])
    labels = torch.tensor([1, 1, 0, 0, 1])
    p = torch.sigmoid(logits)
    expected = -torch.stack([p[0], 1 - p[2], 1 - p[3], p[4]]).log().mean()
    loss = record_loss(logits, labels, pieces)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert hidden.grad.isfinite().all()
    assert not hidden.grad[4].any()


def test_negative_labels_are_ignored(head: RecordHead) -> None:
    hidden = random_hidden()
    logits = head(hidden, first_rows(hidden), PIECES)
    some = record_loss(logits, torch.tensor([1, -1, 0, -1, -1]), PIECES)
    torch.testing.assert_close(some, record_loss(logits[[0, 2]], torch.tensor([1, 0]), PIECES[:2]))
