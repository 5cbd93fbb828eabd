"""The convolution beside the first layer, which the two largest released models have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.dropout import Dropout
from spacy_deberta.encoder.layer import ACTIVATION_FUNCTIONS
from spacy_deberta.encoder.packing import Packing


class Convolution(nn.Module):
    """norm(first layer's output + activation(dropout(convolution of the embeddings))).

    Beyond either end of a sequence the embeddings are zeros, so that batch mates change nothing.

    Source: microsoft/DeBERTa, deberta/bert.py; the papers do not mention that the convolution
    reads the embeddings and joins once, after the first layer.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        width, groups = config.hidden_size, config.conv_groups
        self.weight = nn.Parameter(torch.empty(width, width // groups, config.conv_kernel_size))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.weight, std=config.initializer_range)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.activation = ACTIVATION_FUNCTIONS[config.conv_act]
        self.groups = groups

    def forward(self, embedded: Tensor, first: Tensor, packing: Packing) -> Tensor:
        """What replaces the first layer's output.

        Args:
            embedded: (N, hidden_size) packed rows of the embeddings, zeros in holes.
            first: (N, hidden_size) packed rows of the first layer.
            packing: the groups, in whose rectangles neighbors lie side by side.

        Returns:
            (N, hidden_size).
        """
        convolved = [
            group.gather(self._convolve(group.spread(embedded))) for group in packing.groups
        ]
        convolved.append(first.new_zeros(packing.n_spare, first.shape[-1]))
        added: Tensor = self.activation(self.dropout(torch.cat(convolved)))
        return self.norm(first + added)

    def _convolve(self, rectangle: Tensor) -> Tensor:
        """(B, L, hidden_size) to the same, zeros beyond the ends."""
        lines = rectangle.transpose(1, 2)
        edge = self.weight.shape[-1] // 2
        convolved = F.conv1d(lines, self.weight, self.bias, padding=edge, groups=self.groups)
        return convolved.transpose(1, 2)
