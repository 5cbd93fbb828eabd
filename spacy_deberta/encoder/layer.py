"""One encoder layer: attention and feed-forward, each with a residual and a norm after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.attention import DisentangledAttention
from spacy_deberta.encoder.dropout import Dropout
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
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, rows: Tensor, residual: Tensor) -> Tensor:
        """(N, in_width) and (N, hidden_size) to (N, hidden_size)."""
        change = self.dropout(self.dense(rows))
        if change.dtype == residual.dtype:
            return self.norm(change.add_(residual))  # of which nothing is saved for a gradient
        return self.norm(residual + change)


class DebertaLayer(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, config: DebertaConfig, attention: str) -> None:
        super().__init__()
        self.attention = DisentangledAttention(config, attention)
        self.attention_output = Residual(config.hidden_size, config)
        self.intermediate = Linear(config.hidden_size, config.intermediate_size)
        self.output = Residual(config.intermediate_size, config)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]

    def forward(
        self,
        hidden: Tensor,
        table: TableRows | None,
        packing: Packing,
        *,
        probabilities: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(N, hidden_size) to (N, hidden_size); the rest as in `DisentangledAttention.forward`."""
        context, weights = self.attention(hidden, table, packing, probabilities=probabilities)
        return self.finish(context, hidden), weights

    def finish(self, context: Tensor, residual: Tensor) -> Tensor:
        """What follows attention, row by row.

        Args:
            context: (..., hidden_size) of the attention.
            residual: (..., hidden_size) rows that the queries were made of.

        Returns:
            (..., hidden_size).
        """
        attended = self.attention_output(context, residual)
        inner = self.intermediate(attended)
        if self.activation is F.gelu and not torch.is_grad_enabled():
            torch.ops.aten.gelu_(inner)
        else:
            inner = self.activation(inner)
        return self.output(inner, attended)
