"""One row for a whole sequence, from its first piece."""

from __future__ import annotations

from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.layer import ACTIVATION_FUNCTIONS
from spacy_deberta.heads.dense import new_linear


class ContextPooler(nn.Module):
    """activation(dense(dropout(first row)))."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.pooler_dropout)
        self.dense = new_linear(config.hidden_size, config.hidden_size, config)
        self.activation = ACTIVATION_FUNCTIONS[config.pooler_hidden_act]

    def forward(self, first_rows: Tensor) -> Tensor:
        """The pooled rows.

        Args:
            first_rows: (B, hidden_size), the last layer's row of each sequence's first piece.

        Returns:
            (B, hidden_size).
        """
        pooled: Tensor = self.activation(self.dense(self.dropout(first_rows)))
        return pooled
