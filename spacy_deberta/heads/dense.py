"""The linear maps of heads as training starts them."""

from __future__ import annotations

from torch import nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.linear import Linear


def new_linear(in_width: int, out_width: int, config: DebertaConfig) -> Linear:
    """A map with weights from N(0, initializer_range) and biases 0."""
    made = Linear(in_width, out_width)
    nn.init.normal_(made.weight, std=config.initializer_range)
    nn.init.zeros_(made.bias)
    return made
