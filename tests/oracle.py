"""Slow, independent forms of the maths, element by element; shares no code with the package.

Everything is written for one head of one sequence, from the paper's formulas and the released
models' index rule, so that a mistake in a helper of the package cannot hide in both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ACTIVATIONS = {
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "relu": lambda x: x * (x > 0),
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
}


def bucket(distance: int, *, buckets: int, max_distance: int) -> int:
    """Log bucket of one signed distance; distances past the farthest count as the farthest."""
    half = buckets // 2
    size = min(abs(distance), max_distance - 1)
    if size > half:
        share = math.log(size / half) / math.log((max_distance - 1) / half)
        size = half + math.ceil(share * (half - 1))
    return size if distance >= 0 else -size


def table_row(distance: int, *, buckets: int | None, max_distance: int) -> int:
    """Row of the relative table that the signed distance i - j reads."""
    if buckets is None:
        return min(max(distance + max_distance, 0), 2 * max_distance - 1)
    return bucket(distance, buckets=buckets, max_distance=max_distance) + buckets


def attend(
    qkv: tuple[Tensor, Tensor, Tensor],
    position_key: Tensor | None,
    position_query: Tensor | None,
    *,
    row_of: dict[int, int],
    scale: float,
) -> Tensor:
    """Context (L, D) of one head of one sequence without padding.

    Args:
        qkv: (L, D) each.
        position_key: (S, D) rows for content-to-position; None without.
        position_query: (S, D) rows for position-to-content; None without.
        row_of: table row of every signed distance i - j.
        scale: factor on the sum of the terms.
    """
    positions = (position_key, position_query)
    places = range(len(qkv[0]))
    weights = weigh(qkv[:2], positions, row_of=row_of, scale=scale, kept=list(places))
    return torch.stack([sum(weights[i, j] * qkv[2][j] for j in places) for i in places])


def weigh(
    query_key: tuple[Tensor, Tensor],
    positions: tuple[Tensor | None, Tensor | None],
    *,
    row_of: dict[int, int],
    scale: float,
    kept: Sequence[int],
) -> Tensor:
    """Attention probabilities (L, L) of one head; zeros where query or key is not kept."""
    query, key = query_key
    position_key, position_query = positions
    weights = [[query.new_zeros(()) for _ in key] for _ in query]
    for i in kept:
        scores = {}
        for j in kept:
            score = (query[i] * key[j]).sum()
            if position_key is not None:
                score = score + (query[i] * position_key[row_of[i - j]]).sum()
            if position_query is not None:
                score = score + (key[j] * position_query[row_of[i - j]]).sum()
            scores[j] = (score * scale).exp()
        for j in kept:
            weights[i][j] = scores[j] / sum(scores.values())
    return torch.stack([torch.stack(row) for row in weights])


@dataclass(frozen=True, eq=False)
class Encodable:
    """One sequence as the oracle encodes it, one entry per piece."""

    rows: list[Tensor]  # of the piece table, or given instead
    positions: list[int]
    types: list[int]
    kept: list[int]  # places that are no holes


class Oracle:
    """A whole encoder on one sequence, from its named weights and the public config keys."""

    def __init__(self, weights: Mapping[str, Tensor], config: Any) -> None:
        self.weights = weights
        self.config = config

    def encode(self, sequence: Encodable) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Rows of the embeddings and of each layer; attention (L, L) of each layer's heads."""
        config = self.config
        embedded = [
            self._embed(sequence, place) if place in sequence.kept else None
            for place in range(len(sequence.rows))
        ]
        zero = self.weights["embeddings.norm.bias"] * 0
        states = [[zero if row is None else row for row in embedded]]
        attentions = []
        for number in range(config.num_hidden_layers):
            rows, weights = self._layer(f"layers.{number}.", states[-1], sequence.kept)
            if number == 0 and config.conv_kernel_size:
                rows = [self._convolve(states[0], rows, place) for place in range(len(rows))]
            states.append([r if p in sequence.kept else zero for p, r in enumerate(rows)])
            attentions.append(weights)
        return states, attentions

    def _embed(self, sequence: Encodable, place: int) -> Tensor:
        row = sequence.rows[place]
        if self.config.position_biased_input:
            row = row + self.weights["embeddings.positions.weight"][sequence.positions[place]]
        if self.config.type_vocab_size:
            row = row + self.weights["embeddings.types.weight"][sequence.types[place]]
        if self.config.embedding_size != self.config.hidden_size:
            row = self._linear("embeddings.projection", row)
        return self._norm("embeddings.norm", row)

    def _layer(
        self, layer: str, rows: list[Tensor], kept: Sequence[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        size = self.config.hidden_size // self.config.num_attention_heads
        query, key, value = (
            torch.stack([self._linear(f"{layer}attention.{name}", row) for row in rows])
            for name in ("query", "key", "value")
        )
        tables = self._tables(layer)
        contexts, attentions = [], []
        for head in range(self.config.num_attention_heads):
            mine = slice(head * size, (head + 1) * size)
            weights = weigh(
                (query[:, mine], key[:, mine]),
                tuple(None if table is None else table[:, mine] for table in tables),
                row_of=self._row_of(len(rows)),
                scale=1 / math.sqrt(size * (1 + len(self.config.pos_att_type))),
                kept=kept,
            )
            attentions.append(weights)
            contexts.append(weights @ value[:, mine])
        context = torch.cat(contexts, 1)
        return [self._after(layer, context[p], row) for p, row in enumerate(rows)], attentions

    def _tables(self, layer: str) -> tuple[Tensor | None, Tensor | None]:
        """The relative table through the key side for c2p and the query side for p2c."""
        config = self.config
        if not config.relative_attention:
            return None, None
        rows = self.weights["table.rows.weight"]
        if config.norm_rel_ebd == "layer_norm":
            rows = torch.stack([self._norm("table.norm", row) for row in rows])
        names = {"c2p": "key", "p2c": "query"}
        found: list[Tensor | None] = []
        for term, name in names.items():
            side = name if config.share_att_key else f"position_{name}"
            if term in config.pos_att_type:
                projected = [self._linear(f"{layer}attention.{side}", row) for row in rows]
                found.append(torch.stack(projected))
            else:
                found.append(None)
        return found[0], found[1]

    def _row_of(self, length: int) -> dict[int, int]:
        buckets = self.config.position_buckets
        return {
            distance: table_row(
                distance,
                buckets=buckets if buckets > 0 else None,
                max_distance=self.config.max_relative_positions,
            )
            for distance in range(1 - length, length)
        }

    def _after(self, layer: str, context: Tensor, row: Tensor) -> Tensor:
        attended = self._linear(f"{layer}attention_output.dense", context) + row
        attended = self._norm(f"{layer}attention_output.norm", attended)
        inner = ACTIVATIONS[self.config.hidden_act](self._linear(f"{layer}intermediate", attended))
        return self._norm(
            f"{layer}output.norm", self._linear(f"{layer}output.dense", inner) + attended
        )

    def _convolve(self, embedded: list[Tensor], first: list[Tensor], place: int) -> Tensor:
        """One output row, one channel and one tap of the kernel at a time."""
        weight, bias = self.weights["convolution.weight"], self.weights["convolution.bias"]
        n_channels, n_inputs, n_taps = weight.shape
        n_outputs = n_channels // self.config.conv_groups
        found = []
        for channel in range(n_channels):
            start = channel // n_outputs * n_inputs
            total = bias[channel]
            for tap in range(n_taps):
                source = place + tap - n_taps // 2
                if 0 <= source < len(embedded):
                    inputs = embedded[source][start : start + n_inputs]
                    total = total + (weight[channel, :, tap] * inputs).sum()
            found.append(total)
        added = ACTIVATIONS[self.config.conv_act](torch.stack(found))
        return self._norm("convolution.norm", first[place] + added)

    def _linear(self, name: str, row: Tensor) -> Tensor:
        product = (self.weights[f"{name}.weight"] * row).sum(1)
        bias = self.weights.get(f"{name}.bias")
        return product if bias is None else product + bias

    def _norm(self, name: str, row: Tensor) -> Tensor:
        centered = row - row.mean()
        deviation = (centered.square().mean() + self.config.layer_norm_eps).sqrt()
        return centered / deviation * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def pool(rows: Tensor, tokens: Sequence[Sequence[int]], pooling: str) -> Tensor:
    """One row per token, from the rows of its pieces."""
    pooled = []
    for pieces in tokens:
        mine = [rows[piece] for piece in pieces]
        if not mine:
            pooled.append(torch.zeros_like(rows[0]))
        elif pooling == "first":
            pooled.append(mine[0])
        elif pooling == "last":
            pooled.append(mine[-1])
        elif pooling == "max":
            pooled.append(torch.stack(mine).amax(0))  # equal values share the gradient evenly
        else:
            total = sum(mine[1:], mine[0])
            pooled.append(total / len(mine) if pooling == "mean" else total)
    return torch.stack(pooled)
