"""The attention module: projections of content and of the relative table around one path."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.linear import Linear
from spacy_deberta.encoder.packing import Group, Packing
from spacy_deberta.encoder.paths import choose_path
from spacy_deberta.encoder.scores import Heads, Relative, attention_probabilities
from spacy_deberta.encoder.table import TableRows


class DisentangledAttention(nn.Module):
    """Multi-head attention whose scores add content-position terms.

    The projections of the relative table are the content projections themselves where the config
    shares them; they are looked up, not assigned twice, or the state would hold them twice.
    """

    def __init__(self, config: DebertaConfig, attention: str) -> None:
        super().__init__()
        width = config.hidden_size
        self.query = Linear(width, width)
        self.key = Linear(width, width, bias=config.key_bias)
        self.value = Linear(width, width)
        own = config.relative_attention and not config.share_att_key
        self.has_c2p = config.relative_attention and "c2p" in config.pos_att_type
        self.has_p2c = config.relative_attention and "p2c" in config.pos_att_type
        self.position_key = (
            Linear(width, width, bias=config.position_key_bias) if own and self.has_c2p else None
        )
        self.position_query = (
            Linear(width, width, bias=config.position_query_bias) if own and self.has_p2c else None
        )
        self.table_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.n_heads = config.num_attention_heads
        self.scale = config.score_scale
        self.dropout = config.attention_probs_dropout_prob
        self.attend = choose_path(attention)

    def forward(
        self,
        hidden: Tensor,
        table: TableRows | None,
        packing: Packing,
        *,
        probabilities: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Context of every real piece.

        Args:
            hidden: (N, hidden_size) packed rows.
            table: the rows of the relative table in use; None without relative attention.
            packing: the groups to attend in.
            probabilities: also return what the values are weighed with; the plain path forms it.

        Returns:
            (N, hidden_size), and the attention probabilities (B, H, L, L) of each group before
            dropout; () unless asked.
        """
        query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
        relative = None if table is None else self.project(table)
        dropout = self.dropout if self.training else 0.0
        contexts, weights = [], []
        for group in packing.groups:
            heads = Heads(
                self._spread(group, query),
                self._spread(group, key),
                self._spread(group, value),
                group.keep,
            )
            if probabilities:
                weights.append(attention_probabilities(heads, relative, scale=self.scale))
                context = F.dropout(weights[-1], dropout) @ heads.value
            else:
                context = self.attend(heads, relative, scale=self.scale, dropout=dropout)
            contexts.append(group.gather(context.transpose(1, 2).flatten(-2)))
        contexts.append(contexts[0].new_zeros(packing.n_spare, hidden.shape[-1]))
        return torch.cat(contexts), tuple(weights)

    def project(self, table: TableRows) -> Relative:
        """The relative table as this layer's queries and keys see it."""
        rows = self.table_dropout(table.rows)
        keys = queries = None
        if self.has_c2p:
            keys = self.heads((self.position_key or self.key)(rows))
        if self.has_p2c:
            queries = self.heads((self.position_query or self.query)(rows))
        return Relative(keys=keys, queries=queries, rows=table.index)

    def heads(self, rows: Tensor) -> Tensor:
        """(..., L, hidden_size) to (..., H, L, D)."""
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)

    def _spread(self, group: Group, rows: Tensor) -> Tensor:
        """(N, hidden_size) to the group's (B, H, L, D)."""
        return self.heads(group.spread(rows))
