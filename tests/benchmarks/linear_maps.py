"""The products of an encoder's linear maps alone: what no encoder on the same library can beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from spacy_deberta.encoder import DebertaEncoder


def linear_maps(encoder: DebertaEncoder, call: Callable[[], Any]) -> Callable[[], None]:
    """Multiply by all weights of the layers, with as many rows as a call gives them."""
    sizes: list[int] = []
    first = encoder.layers[0].attention.query
    hook = first.register_forward_pre_hook(lambda _, rows: sizes.append(len(rows[0])))
    call()
    hook.remove()
    width, dtype = encoder.config.hidden_size, first.weight.dtype

    @torch.inference_mode()
    def multiply() -> None:
        for n_rows in sizes:
            rows = torch.ones(n_rows, width, dtype=dtype)
            for layer in encoder.layers:
                attention = layer.attention
                for part in (attention.query, attention.key, attention.value):
                    part(rows)
                layer.output.dense(layer.intermediate(layer.attention_output.dense(rows)))

    return multiply
