"""The enhanced mask decoder: absolute positions join only when masked pieces are predicted.

Without positions in the encoder's input, the last layer runs twice more, with the second-last
layer's output as keys and values:

    query 0 = second_last + positions
    query 1 = last layer (query 0; keys and values of second_last)
    query 2 = last layer (query 1; keys and values of second_last)   -> the masked-LM head

A query's row depends on no other row of it, so only the rows to predict are computed.

Source: He et al. 2021 (arXiv:2006.03654), section 3.2, which does not say what the decoder reads;
microsoft/DeBERTa, apps/models/masked_language_model.py. The positions are raw table rows, neither
normed nor dropped, and the encoder's own last output is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.encoder.attention import DisentangledAttention
from spacy_deberta.encoder.layer import DebertaLayer
from spacy_deberta.encoder.packing import pack, pack_rectangle
from spacy_deberta.encoder.scores import Heads, Relative, attend_plain
from spacy_deberta.encoder.table import TableRows
from spacy_deberta.errors import ConfigError
from spacy_deberta.heads.queries import Queries, QueryGroup, all_queries, pack_queries

PASSES = 2  # through the last layer


class EnhancedMaskDecoder(nn.Module):
    """The table of absolute positions, and the decoding with an encoder's last layer.

    Raises:
        ConfigError: the config has positions in the input, or tables narrower than its layers.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        if config.position_biased_input:
            raise ConfigError(
                "position_biased_input=True: this encoder adds absolute positions to its input and "
                "was trained without the enhanced mask decoder; expected False. Feed its last "
                "layer to the masked-LM head."
            )
        if config.embedding_size != config.hidden_size:
            raise ConfigError(
                f"embedding_size={config.embedding_size}: the enhanced mask decoder adds rows of "
                f"the position table to hidden rows; expected hidden_size={config.hidden_size}."
            )
        size = (config.max_position_embeddings, config.hidden_size)
        self.positions = nn.Parameter(torch.empty(size))
        nn.init.normal_(self.positions, std=config.initializer_range)

    def forward(
        self,
        encoder: DebertaEncoder,
        second_last: Tensor,
        lengths: Sequence[int],
        rows: Tensor,
        positions: Tensor | None = None,
        *,
        holes: Tensor | None = None,
    ) -> Tensor:
        """The rows that a masked-LM head reads.

        Args:
            encoder: whose last layer decodes.
            second_last: (N, hidden_size) packed output of its second-last layer, hidden_states[-2].
            lengths: pieces of each sequence, as given to the encoder.
            rows: (M,) the rows to predict, in any order.
            positions: (N,) absolute positions; None = the place in its sequence.
            holes: (N,) bool, true = a masked piece, as given to the encoder.

        Returns:
            (M, hidden_size), in the order of `rows`.

        Raises:
            ConfigError: a row to predict stands beyond the table of positions.
        """
        if not rows.numel():
            return second_last[rows]
        packing = pack(lengths, second_last.shape[0], second_last.device)
        if holes is not None:
            packing = packing.with_holes(holes[packing.order])
        queries = pack_queries(rows, packing)
        places = queries.places
        if positions is not None:
            places = positions[packing.order][queries.packed]
        self._check_places(places)
        content = second_last[packing.order]
        query = content[queries.packed] + F.embedding(places, self.positions)
        table = None if encoder.table is None else encoder.table(packing.longest)
        return _decode(_last_layer(encoder), query, content, queries, table)[queries.inverse]

    def rectangle(
        self,
        encoder: DebertaEncoder,
        second_last: Tensor,
        keep: Tensor,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The same for every row of a rectangle, without a branch on what the tensors hold.

        Args:
            encoder: whose last layer decodes.
            second_last: (B, L, hidden_size).
            keep: (B, L) bool, true = a real piece.
            positions: (B, L) absolute positions; None = the column.

        Returns:
            (B, L, hidden_size), zeros in padding.
        """
        packing = pack_rectangle(keep)
        places = packing.positions if positions is None else positions.flatten()
        content = second_last.flatten(0, 1)
        query = content + F.embedding(places, self.positions)
        table = None if encoder.table is None else encoder.table.every_row(keep.shape[1])
        decoded = _decode(_last_layer(encoder), query, content, all_queries(packing), table)
        return decoded.unflatten(0, keep.shape) * keep[..., None]

    def _check_places(self, places: Tensor) -> None:
        low, high = (int(place) for place in places.aminmax())
        size = self.positions.shape[0]
        if low < 0 or high >= size:
            raise ConfigError(
                f"a piece to predict is at position {low if low < 0 else high}, but the mask "
                f"decoder knows max_position_embeddings={size} of them, from 0; cut the text into "
                "windows of at most that many pieces."
            )


def _decode(
    last: DebertaLayer, query: Tensor, content: Tensor, queries: Queries, table: TableRows | None
) -> Tensor:
    """The passes through the last layer; each draws its own dropout of the relative table.

    Args:
        last: the layer.
        query: (P, hidden_size) rows to decode.
        content: (N, hidden_size) packed rows that they attend to.
        queries: where the rows to decode stand.
        table: the rows of the relative table in use; None without relative attention.

    Returns:
        (P, hidden_size).
    """
    attention = last.attention
    keys, values = attention.key(content), attention.value(content)
    for _ in range(PASSES):
        relative = None if table is None else attention.project(table)
        asking = attention.query(query)
        contexts = [
            _attend(attention, group, (asking, keys, values), relative) for group in queries.groups
        ]
        contexts.append(query.new_zeros(queries.n_spare, query.shape[1]))
        query = last.finish(torch.cat(contexts), query)
    return query


def _attend(
    attention: DisentangledAttention,
    group: QueryGroup,
    projected: tuple[Tensor, Tensor, Tensor],
    relative: Relative | None,
) -> Tensor:
    """Context (rows asked of the group, hidden_size).

    Args:
        attention: the last layer's.
        group: its queries and its content.
        projected: all queries (P, hidden_size), all keys and values (N, hidden_size).
        relative: the table as this layer sees it.
    """
    asking, keys, values = projected
    heads = Heads(
        query=attention.heads(group.asked.spread(asking)),
        key=attention.heads(group.content.spread(keys)),
        value=attention.heads(group.content.spread(values)),
        keep=group.content.keep,
    )
    placed = None if relative is None else replace(relative, places=group.places)
    dropout = attention.dropout if attention.training else 0.0
    context = attend_plain(heads, placed, scale=attention.scale, dropout=dropout)
    return group.asked.gather(context.transpose(1, 2).flatten(-2))


def _last_layer(encoder: DebertaEncoder) -> DebertaLayer:
    return cast(DebertaLayer, encoder.layers[-1])
