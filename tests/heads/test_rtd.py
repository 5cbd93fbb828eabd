"""Replaced-token detection against its formulas, and the table that its two models share."""

import pytest
import torch
from torch import Tensor, nn

from spacy_deberta.heads import ReplacedTokenHead, disentangled_table, rtd_loss
from tests.oracle_heads import detect_replaced, disentangled_rows, replaced_loss
from tests.tiny import tiny_config

LENGTHS = (5, 1, 3)


@pytest.fixture
def head() -> ReplacedTokenHead:
    torch.manual_seed(0)
    made = ReplacedTokenHead(tiny_config())
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def random_hidden() -> Tensor:
    return torch.randn(sum(LENGTHS), 16, generator=torch.Generator().manual_seed(1))


def packed_logits(head: ReplacedTokenHead, hidden: Tensor) -> Tensor:
    firsts = torch.cat([rows[:1].expand_as(rows) for rows in hidden.split(LENGTHS)])
    return head(hidden, firsts)


def test_logits_follow_the_formula(head: ReplacedTokenHead) -> None:
    hidden = random_hidden()
    expected = [detect_replaced(rows, head.state_dict(), 1e-7) for rows in hidden.split(LENGTHS)]
    logits = packed_logits(head, hidden)
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-5, rtol=0)
    rectangle = hidden[:5][None]
    torch.testing.assert_close(head(rectangle, rectangle[:, :1])[0], expected[0])


def test_the_head_has_these_parameters(head: ReplacedTokenHead) -> None:
    assert {name: tuple(p.shape) for name, p in head.state_dict().items()} == {
        "norm.weight": (16,),
        "norm.bias": (16,),
        "dense.weight": (16, 16),
        "dense.bias": (16,),
        "classifier.weight": (1, 16),
        "classifier.bias": (1,),
    }


def test_the_loss_and_its_gradients_follow_the_formula(head: ReplacedTokenHead) -> None:
    replaced = [[0, 1, 0, 0, 1], [0], [1, 1, 0]]
    hidden, same = random_hidden().requires_grad_(), random_hidden().requires_grad_()
    logits = packed_logits(head, hidden)
    loss = rtd_loss(logits, torch.tensor([0, 1, 0, 0, 1, 0, 1, 1, 0]))
    weights = {name: tensor.clone().requires_grad_() for name, tensor in head.state_dict().items()}
    expected = replaced_loss(
        [detect_replaced(rows, weights, 1e-7) for rows in same.split(LENGTHS)], replaced
    )
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(hidden.grad, same.grad, atol=1e-5, rtol=0)
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, atol=1e-5, rtol=0)


def test_padding_can_be_ignored() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 50.0]])
    loss = rtd_loss(logits, torch.tensor([[1, 0], [0, -100]]))
    torch.testing.assert_close(loss, rtd_loss(logits.flatten()[:3], torch.tensor([1, 0, 0])))


def test_the_shared_table_is_the_sum_and_trains_the_difference_only() -> None:
    generator, delta = random_hidden().requires_grad_(), random_hidden().flip(0).requires_grad_()
    pieces = [3, 0, 3]
    rows = disentangled_table(generator, delta)[pieces]
    same = delta.detach().clone().requires_grad_()
    expected = disentangled_rows(generator, same, pieces)
    torch.testing.assert_close(rows, expected)
    (rows**2).sum().backward()
    (expected**2).sum().backward()
    assert generator.grad is None
    torch.testing.assert_close(delta.grad, same.grad)
    fresh = disentangled_table(generator, torch.zeros_like(generator))
    assert torch.equal(fresh, generator.detach())
