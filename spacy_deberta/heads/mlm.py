"""Masked-language-model heads: hidden rows to logits over the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.layer import ACTIVATION_FUNCTIONS
from spacy_deberta.encoder.linear import linear
from spacy_deberta.heads.dense import new_linear
from spacy_deberta.heads.losses import cross_entropy


class MaskedLMHead(nn.Module):
    """dense, activation, norm, then the encoder's own piece table as the output matrix, plus bias.

    The form of Microsoft's lm_head. It reads the last layer where absolute positions are in the
    input (position_biased_input), as that code does; without them it belongs behind the enhanced
    mask decoder.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.dense = new_linear(config.hidden_size, config.embedding_size, config)
        self.norm = nn.LayerNorm(config.embedding_size, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]

    def forward(self, hidden: Tensor, piece_table: Tensor) -> Tensor:
        """Logits of each row.

        Args:
            hidden: (..., hidden_size) rows to predict.
            piece_table: (vocab_size, embedding_size), the encoder's piece embeddings.

        Returns:
            (..., vocab_size).
        """
        rows = self.norm(self.activation(self.dense(hidden)))
        return linear(rows, piece_table, self.bias)


class LegacyMaskedLMHead(MaskedLMHead):
    """The same computation, trained by `transformers` under names of its own (cls.predictions).

    It reads the last layer always. None of Microsoft's files holds it.
    """


def masked_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the pieces to predict.

    Args:
        logits: (..., vocab_size).
        labels: (...) ids; negative = not to predict.
    """
    return cross_entropy(logits, labels)
