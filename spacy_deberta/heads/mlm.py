"""The masked-language-model head: hidden rows to logits over the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.layer import ACTIVATION_FUNCTIONS
from spacy_deberta.encoder.linear import Linear, linear


class MaskedLMHead(nn.Module):
    """dense, activation, norm, then the encoder's own piece table as the output matrix, plus bias.

    The form of Microsoft's lm_head. It reads the last layer where absolute positions are in the
    input (position_biased_input), as that code does; without them it belongs behind the enhanced
    mask decoder.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]
        nn.init.normal_(self.dense.weight, std=config.initializer_range)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: Tensor, piece_table: Tensor) -> Tensor:
        """Logits of each row.

        Args:
            hidden: (N, hidden_size) rows to predict.
            piece_table: (vocab_size, embedding_size), the encoder's piece embeddings.

        Returns:
            (N, vocab_size).
        """
        rows = self.norm(self.activation(self.dense(hidden)))
        return linear(rows, piece_table, self.bias)
