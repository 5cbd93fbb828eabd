"""Microsoft's head for ReCoRD: which of the entities in a passage fills the gap of a query."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.heads.dense import new_linear
from spacy_deberta.heads.losses import binary_cross_entropy

ABSENT_LOGIT = -10_000.0  # of an entity without a piece, as in Microsoft's code


class RecordHead(nn.Module):
    """Attention from the first piece over an entity's pieces, then one more layer and a logit.

    Source: microsoft/DeBERTa, apps/models/record_qa.py; its activation is gelu whatever hidden_act
    says. It calls the place 0 absent, which is the first piece and never part of an entity.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.proj = new_linear(config.hidden_size, config.hidden_size, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = new_linear(config.hidden_size, 1, config)

    def forward(self, hidden: Tensor, first_rows: Tensor, pieces: Tensor) -> Tensor:
        """Logits of each entity.

        Args:
            hidden: (N, hidden_size) rows of all sequences.
            first_rows: (M, hidden_size), for each entity the first row of its sequence.
            pieces: (M, P) rows of each entity in `hidden`; negative = no more pieces.

        Returns:
            (M,); ABSENT_LOGIT for an entity without a piece.
        """
        present = pieces >= 0
        rows = hidden[pieces.clamp(min=0)]  # (M, P, hidden_size)
        scores = (rows @ first_rows.unsqueeze(-1)).squeeze(-1) / math.sqrt(hidden.shape[-1])
        lowest = torch.finfo(scores.dtype).min
        shares = scores.masked_fill(~present, lowest).softmax(-1)
        entities = (shares.unsqueeze(-2) @ rows).squeeze(-2)
        logits = self.classifier(self.dropout(F.gelu(self.proj(entities)))).squeeze(-1)
        return logits.masked_fill(~present.any(-1), ABSENT_LOGIT)


def record_loss(logits: Tensor, labels: Tensor, pieces: Tensor) -> Tensor:
    """Sigmoid cross-entropy over the entities that have a piece.

    Args:
        logits: (M,).
        labels: (M,) 1 = fills the gap; negative = ignored.
        pieces: (M, P) as given to the head.
    """
    return binary_cross_entropy(logits, labels.masked_fill(~(pieces >= 0).any(-1), -1))
