"""Heads that label every piece."""

import math

import pytest
import torch
from torch import Tensor

from spacy_deberta.heads import ProjectedTokenHead, TokenHead, token_loss
from tests.oracle_heads import mean_log_loss
from tests.tiny import tiny_config


def random_rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_a_token_head_is_one_layer() -> None:
    head = TokenHead(tiny_config(num_labels=5)).eval()
    rows = random_rows(7, 16)
    torch.testing.assert_close(head(rows), rows @ head.classifier.weight.T + head.classifier.bias)
    assert set(head.state_dict()) == {"classifier.weight", "classifier.bias"}


def test_a_projected_head_has_a_gelu_layer_more_whatever_the_encoder_uses() -> None:
    head = ProjectedTokenHead(tiny_config(num_labels=5, hidden_act="relu")).eval()
    rows = random_rows(7, 16)
    inner = rows @ head.proj.weight.T + head.proj.bias
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    torch.testing.assert_close(head(rows), inner @ head.classifier.weight.T + head.classifier.bias)
    assert set(head.state_dict()) == {
        "proj.weight",
        "proj.bias",
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize("head", [TokenHead, ProjectedTokenHead])
def test_rows_may_come_packed_or_as_a_rectangle(
    head: type[TokenHead | ProjectedTokenHead],
) -> None:
    made = head(tiny_config(num_labels=3, hidden_dropout_prob=0.1)).eval()
    rows = random_rows(6, 16)
    rectangle = made(rows.view(2, 3, 16))
    torch.testing.assert_close(rectangle.flatten(0, 1), made(rows))


@pytest.mark.parametrize("head", [TokenHead, ProjectedTokenHead])
def test_dropout_acts_in_training_only(head: type[TokenHead | ProjectedTokenHead]) -> None:
    made = head(tiny_config(hidden_dropout_prob=0.5)).train()
    rows = random_rows(6, 16)
    assert not torch.equal(made(rows), made(rows))
    made.eval()
    assert torch.equal(made(rows), made(rows))


def test_every_negative_label_is_ignored() -> None:
    logits = random_rows(5, 4)
    labels = [2, -1, 0, -100, 3]
    expected = mean_log_loss(logits, labels)
    torch.testing.assert_close(token_loss(logits, torch.tensor(labels)), expected)
