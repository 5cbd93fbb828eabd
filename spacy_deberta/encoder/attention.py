"""The attention module: projections of content and of the relative table around one path."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.cache import WeightCache
from spacy_deberta.encoder.dropout import Dropout
from spacy_deberta.encoder.linear import Linear
from spacy_deberta.encoder.packing import Packing
from spacy_deberta.encoder.paths import choose_path
from spacy_deberta.encoder.scores import Heads, Relative, attention_probabilities
from spacy_deberta.encoder.table import TableRows

# Keys and queries of a projected table, and what a path makes of them (`Relative.kept`).
_Settled = tuple[Tensor | None, Tensor | None, dict[float, Any]]


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
        self.table_dropout = Dropout(config.hidden_dropout_prob)
        self.n_heads = config.num_attention_heads
        self.scale = config.score_scale
        self.dropout = config.attention_probs_dropout_prob
        self.attend = choose_path(attention)
        self._projected: WeightCache[_Settled] = WeightCache()

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
        split = zip(*(packing.split(rows) for rows in (query, key, value)), strict=True)
        for group, three in zip(packing.groups, split, strict=True):
            q, k, v = (group.by_heads(rows, self.n_heads) for rows in three)
            heads = Heads(q, k, v, group.keep, group.filled)
            if probabilities:
                weights.append(attention_probabilities(heads, relative, scale=self.scale))
                context = F.dropout(weights[-1], dropout) @ heads.value
            else:
                context = self.attend(heads, relative, scale=self.scale, dropout=dropout)
            contexts.append(group.gather(context.transpose(1, 2).flatten(-2)))
        if packing.n_spare:
            contexts.append(contexts[0].new_zeros(packing.n_spare, hidden.shape[-1]))
        joined = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
        return joined, tuple(weights)

    def project(self, table: TableRows) -> Relative:
        """The relative table as this layer's queries and keys see it."""
        side = self.position_key or self.key, self.position_query or self.query
        if self.training:
            rows = self._project(self.table_dropout(table.rows), *side)
            return Relative(*rows, rows=table.index, reach=table.reach)
        weights = [table.rows, *(weight for linear in side for weight in linear.parameters())]
        keys, queries, kept = self._projected.get(weights, lambda: self._settled(table.rows, *side))
        return Relative(keys, queries, rows=table.index, reach=table.reach, kept=kept)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; weights may change from here on."""
        if mode:
            self._projected.clear()
        return super().train(mode)

    def _project(
        self, rows: Tensor, key: Linear, query: Linear
    ) -> tuple[Tensor | None, Tensor | None]:
        return (
            self.heads(key(rows)) if self.has_c2p else None,
            self.heads(query(rows)) if self.has_p2c else None,
        )

    def _settled(self, rows: Tensor, key: Linear, query: Linear) -> _Settled:
        """The same with each head's rows together: they are read again and again."""
        keys, queries = self._project(rows, key, query)
        return (
            None if keys is None else keys.contiguous(),
            None if queries is None else queries.contiguous(),
            {},
        )

    def heads(self, rows: Tensor) -> Tensor:
        """(..., L, hidden_size) to (..., H, L, D)."""
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)
