"""The relative position table, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.cache import WeightCache
from spacy_deberta.encoder.packing import round_rows
from spacy_deberta.encoder.positions import clipped_rows, distance_rows

SHORT = 256  # pieces; most texts


@dataclass(frozen=True, eq=False)
class TableRows:
    """The rows of the table that a batch can reach.

    Attributes:
        rows: (R, hidden_size), normed.
        index: (2 * L - 1,) row of each distance, ascending from -(L - 1), for the longest L or
            a longer one.
        reach: from this distance on, either way, all distances read the same row.
    """

    rows: Tensor
    index: Tensor
    reach: int


class PositionTable(nn.Module):
    """Embedding rows of distances, normed where the config says so.

    The buffer `row_of` is made from numpy: on torch's meta device, where modules are built before
    their weights are there, anything else would have no content.
    """

    row_of: Tensor

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.rows = nn.Embedding(config.table_rows, config.hidden_size)
        self.norm = (
            nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
            if config.norm_rel_ebd == "layer_norm"
            else nn.Identity()
        )
        self.buckets = config.position_buckets if config.position_buckets > 0 else None
        self.max_distance = config.max_relative_positions
        row_of = clipped_rows(buckets=self.buckets, max_distance=self.max_distance)
        self.register_buffer("row_of", torch.from_numpy(row_of), persistent=False)
        self._normed: WeightCache[Tensor] = WeightCache()

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; weights may change from here on."""
        if mode:
            self._normed.clear()
        return super().train(mode)

    def every_row(self, length: int) -> TableRows:
        """The whole table, for sequences of one length.

        Nothing here looks at the length's value: a program traced at one length holds for all.
        """
        distance = torch.arange(1 - length, length, device=self.row_of.device)
        far = self.max_distance
        index = self.row_of[distance.clamp(-far, far) + far]
        return TableRows(self.norm(self.rows.weight), index, self.max_distance)

    def forward(self, length: int) -> TableRows:
        """The rows that sequences of up to `length` pieces can reach, and few others.

        In evaluation all rows: what layers make of them is kept, and serves every length; short
        ones are told the distances up to SHORT, so that one thing serves all of them.
        """
        settled = not self.training and not torch.is_grad_enabled()
        known = max(length, SHORT) if settled else length
        index = distance_rows(known, buckets=self.buckets, max_distance=self.max_distance)
        if settled:
            weights = [self.rows.weight, *self.norm.parameters()]
            rows = self._normed.get(weights, lambda: self.norm(self.rows.weight))
            return TableRows(rows, torch.from_numpy(index).to(rows.device), self.max_distance)
        low, high = int(index[0]), int(index[-1])
        weight = self.rows.weight[low : low + round_rows(high + 1 - low)]
        rows = torch.from_numpy(index - low).to(weight.device)
        return TableRows(self.norm(weight), rows, self.max_distance)
