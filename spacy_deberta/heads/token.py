"""Heads that label every piece."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.heads.dense import new_linear
from spacy_deberta.heads.losses import cross_entropy


class TokenHead(nn.Module):
    """Dropout, one logit per label."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = new_linear(config.hidden_size, config.num_labels, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden_size) rows to (..., num_labels) logits."""
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits


class ProjectedTokenHead(nn.Module):
    """One more layer in front of dropout and logits, as in Microsoft's NER model.

    Source: microsoft/DeBERTa, apps/models/ner.py; its activation is gelu whatever hidden_act says.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.proj = new_linear(config.hidden_size, config.hidden_size, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = new_linear(config.hidden_size, config.num_labels, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden_size) rows to (..., num_labels) logits."""
        logits: Tensor = self.classifier(self.dropout(F.gelu(self.proj(hidden))))
        return logits


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the labeled pieces.

    Args:
        logits: (..., num_labels).
        labels: (...) classes; negative = ignored.
    """
    return cross_entropy(logits, labels)
