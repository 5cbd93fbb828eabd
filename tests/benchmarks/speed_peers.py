"""The contestants of the encoder benchmark that run on torch: ours, transformers, a RoBERTa.

Each reads the same checkpoint; a RoBERTa of the same size has weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, RobertaConfig, RobertaModel

from spacy_deberta.encoder import DebertaEncoder
from tests.benchmarks.linear_maps import linear_maps
from tests.benchmarks.speed_cells import (
    LINEAR_MAPS,
    OURS,
    SEED,
    VOCABULARY,
    Batch,
    Shape,
    our_model_class,
)

TRANSFORMERS, ROBERTA = "transformers", "RoBERTa (sdpa)"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


@dataclass(frozen=True, eq=False)
class Contestant:
    """An encoder in one precision.

    Attributes:
        name: of the package.
        dtype: "fp32" or "bf16"; "fp64" to be compared with.
        encode: a batch to rows of pieces (N, W) or to a rectangle (B, L, W), as it comes.
        is_deberta: whether its outputs are those of the plain formula.
    """

    name: str
    dtype: str
    encode: Callable[[Batch], Any]
    is_deberta: bool = True

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name} {self.dtype}"

    def real_rows(self, batch: Batch) -> Tensor:
        """(N, W) float64: what it computes for the real pieces."""
        found = torch.as_tensor(self.encode(batch)).double()
        return found[batch.keep] if found.ndim > 2 else found


def load_encoder(folder: Path, version: str, dtype: str, attention: str = "auto") -> DebertaEncoder:
    """Our encoder of a checkpoint."""
    model = our_model_class(version).from_pretrained(
        folder, dtype=DTYPES[dtype], attention=attention
    )
    return model.encoder


def ours(folder: Path, version: str, dtype: str, attention: str = "auto") -> Contestant:
    """Our encoder: it is given the real pieces and never sees padding."""
    encoder = load_encoder(folder, version, dtype, attention)

    def encode(batch: Batch) -> Tensor:
        return encoder(batch.pieces, batch.lengths).last_hidden_state

    return Contestant(OURS, dtype, encode)


def our_linear_maps(folder: Path, version: str, dtype: str) -> Contestant:
    """Nothing but the products with our encoder's weights, on as many rows."""
    encoder = load_encoder(folder, version, dtype)
    prepared: dict[str, Callable[[], None]] = {}

    def multiply(batch: Batch) -> None:
        if batch.name not in prepared:
            prepared[batch.name] = linear_maps(
                encoder, lambda: encoder(batch.pieces, batch.lengths)
            )
        prepared[batch.name]()

    return Contestant(LINEAR_MAPS, dtype, multiply, is_deberta=False)


def transformers_model(folder: Path, dtype: str) -> Contestant:
    """The DeBERTa of transformers; it has eager attention only.

    Loaded as bfloat16, its v1 keeps two biases of each layer in float32 and cannot run: hence `to`.
    """
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(DTYPES[dtype]).eval()
    return Contestant(TRANSFORMERS, dtype, _rectangle(model))


def roberta(shape: Shape, dtype: str) -> Contestant:
    """A model of the same size without relative positions, through torch's fused attention."""
    torch.manual_seed(SEED)
    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=514,  # its first two rows are never used
        type_vocab_size=1,
        attn_implementation="sdpa",
    )
    model = RobertaModel(config, add_pooling_layer=False).to(DTYPES[dtype]).eval()
    return Contestant(ROBERTA, dtype, _rectangle(model), is_deberta=False)


def _rectangle(model: Any) -> Callable[[Batch], Tensor]:
    """Calls of a model of transformers; a batch without padding needs no mask."""

    def encode(batch: Batch) -> Tensor:
        mask = None if batch.is_full else batch.keep.long()
        return model(input_ids=batch.ids, attention_mask=mask).last_hidden_state

    return encode
