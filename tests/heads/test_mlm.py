"""The masked-LM heads: one computation under two sets of names."""

import math

import pytest
import torch
from torch import Tensor, nn

from spacy_deberta.heads import LegacyMaskedLMHead, MaskedLMHead, masked_lm_loss
from tests.oracle_heads import mean_log_loss
from tests.tiny import tiny_config

HEADS = [MaskedLMHead, LegacyMaskedLMHead]


def random_rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def make_head(kind: type[MaskedLMHead], **changes: object) -> MaskedLMHead:
    torch.manual_seed(0)
    head = kind(tiny_config(vocab_size=20, **changes)).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return head


@pytest.mark.parametrize("width", [16, 8], ids=["full tables", "narrow tables"])
@pytest.mark.parametrize("kind", HEADS)
def test_logits_follow_the_formula(kind: type[MaskedLMHead], width: int) -> None:
    head = make_head(kind, embedding_size=width)
    rows, table = random_rows(4, 16), random_rows(20, width)
    inner = rows @ head.dense.weight.T + head.dense.bias
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    centered = inner - inner.mean(-1, keepdim=True)
    normed = centered / (centered**2).mean(-1, keepdim=True).add(1e-7).sqrt()
    expected = (normed * head.norm.weight + head.norm.bias) @ table.T + head.bias
    torch.testing.assert_close(head(rows, table), expected, atol=1e-5, rtol=0)
    rectangle = head(rows.view(2, 2, 16), table)
    torch.testing.assert_close(rectangle.flatten(0, 1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", HEADS)
def test_the_heads_have_these_parameters(kind: type[MaskedLMHead]) -> None:
    head = make_head(kind, embedding_size=8)
    assert {name: tuple(p.shape) for name, p in head.state_dict().items()} == {
        "dense.weight": (8, 16),
        "dense.bias": (8,),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "bias": (20,),
    }


def test_every_negative_label_is_not_to_predict() -> None:
    logits = random_rows(5, 20)
    labels = [19, -1, 0, -100, 3]
    expected = mean_log_loss(logits, labels)
    torch.testing.assert_close(masked_lm_loss(logits, torch.tensor(labels)), expected)
