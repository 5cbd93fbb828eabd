"""One encoder layer: attention and feed-forward, each with a residual and a norm after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.attention import DisentangledAttention
from spacy_deberta.encoder.linear import Linear
from spacy_deberta.encoder.packing import Packing
from spacy_deberta.encoder.table import TableRows

ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # the exact form, by erf, as in the released models
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": lambda rows: rows,
}


class Residual(nn.Module):
    """norm(residual + dropout(dense(x))): the end of both halves of a layer."""

    def __init__(self, in_width: int, config: DebertaConfig) -> None:
        super().__init__()
        self.dense = Linear(in_width, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, rows: Tensor, residual: Tensor) -> Tensor:
        """(N, in_width) and (N, hidden_size) to (N, hidden_size)."""
        return self.norm(residual + self.dropout(self.dense(rows)))


class DebertaLayer(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, config: DebertaConfig, attention: str) -> None:
        super().__init__()
        self.attention = DisentangledAttention(config, attention)
        self.attention_output = Residual(config.hidden_size, config)
        self.intermediate = Linear(config.hidden_size, config.intermediate_size)
        self.output = Residual(config.intermediate_size, config)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]

    def forward(self, hidden: Tensor, table: TableRows | None, packing: Packing) -> Tensor:
        """(N, hidden_size) to (N, hidden_size)."""
        context = self.attention(hidden, table, packing)
        attended = self.attention_output(context, hidden)
        inner: Tensor = self.activation(self.intermediate(attended))
        return self.output(inner, attended)
