"""What the encoder benchmark encodes, and with which weights: shapes, batches, a checkpoint."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spacy_deberta import DebertaConfig, DebertaModel, DebertaV2Config, DebertaV2Model

OURS, LINEAR_MAPS = "ours", "linear maps of ours"
HALF_PADDED = "half-padded"
SENTENCES, SHORTEST, LONGEST = 32, 4, 47  # lengths in pieces
LENGTHS_SEED = 1  # one of those that fill 51 % of the rectangle
VOCABULARY = 8192  # pieces; a table that the time of a forward pass does not depend on
FIRST_PIECE = 4  # below it stand special pieces; RoBERTa reads 1 as padding
HEAD_WIDTH = 64
SPREAD = 0.05  # standard deviation of all weights: scores of about 1, as after training
SEED = 13
IDENTITY = ("model_type", "num_hidden_layers", "hidden_size")  # keys that tell shapes apart


@dataclass(frozen=True)
class Shape:
    """Size of the models.

    Attributes:
        version: "v3" or "v1".
        layers: number of layers.
        width: hidden size, a multiple of the width of a head.
    """

    version: str
    layers: int
    width: int

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.width // HEAD_WIDTH


@dataclass(frozen=True, eq=False)
class Batch:
    """One cell: the same pieces for every contestant.

    Attributes:
        name: of the cell.
        lengths: pieces of each sequence.
        pieces: (N,) their concatenation.
        ids: (B, L) the same, padded with 0.
        keep: (B, L) bool, true = a real piece.
        arrays: `ids` and the mask as int64, by the names of exported models' inputs.
    """

    name: str
    lengths: tuple[int, ...]
    pieces: Tensor
    ids: Tensor
    keep: Tensor
    arrays: dict[str, npt.NDArray[np.int64]]

    @property
    def is_full(self) -> bool:
        """Without padding."""
        return self.pieces.numel() == self.ids.numel()


def _sentences() -> tuple[int, ...]:
    """Lengths as in a user's batch; the longest is among them."""
    draw = random.Random(LENGTHS_SEED)
    return (LONGEST, *(draw.randint(SHORTEST, LONGEST) for _ in range(SENTENCES - 1)))


CELLS: dict[str, tuple[int, ...]] = {
    "1x16": (16,),
    "1x128": (128,),
    "8x32": (32,) * 8,
    "8x128": (128,) * 8,
    "2x512": (512,) * 2,
    HALF_PADDED: _sentences(),
}
FULL_CELLS = tuple(name for name in CELLS if name != HALF_PADDED)


def make_batch(name: str) -> Batch:
    """Random pieces for a cell, always the same."""
    lengths = CELLS[name]
    generator = torch.Generator().manual_seed(SEED)
    pieces = torch.randint(FIRST_PIECE, VOCABULARY, (sum(lengths),), generator=generator)
    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.zeros(keep.shape, dtype=torch.int64)
    ids[keep] = pieces
    arrays = {"input_ids": ids.numpy(), "attention_mask": keep.to(torch.int64).numpy()}
    return Batch(name, lengths, pieces, ids, keep, arrays)


def model_config(shape: Shape) -> DebertaConfig:
    """The released configuration of a version, at this size."""
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "relative_attention": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
        "max_position_embeddings": 512,
        "layer_norm_eps": 1e-7,
    }
    if shape.version == "v1":
        return DebertaConfig(max_relative_positions=512, pos_att_type=("c2p", "p2c"), **settings)
    return DebertaV2Config(
        max_relative_positions=-1,
        position_buckets=256,
        pos_att_type=("p2c", "c2p"),
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        **settings,
    )


def our_model_class(version: str) -> type[DebertaModel]:
    """Our class for a version."""
    return DebertaModel if version == "v1" else DebertaV2Model


def save_checkpoint(shape: Shape, folder: Path) -> None:
    """Write a model whose weights, biases and norms are all drawn at random, if there is none.

    Raises:
        SystemExit: there is one of another shape.
    """
    file = folder / "config.json"
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        wanted = model_config(shape).to_dict()
        if any(found[key] != wanted[key] for key in IDENTITY):
            sys.exit(f"{file}: is of another model; name another folder, or remove it")
        return
    torch.manual_seed(SEED)
    model = our_model_class(shape.version)(model_config(shape))
    with torch.no_grad():
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                parameter.normal_(std=SPREAD)
            if isinstance(module, nn.LayerNorm):
                module.weight.add_(1.0)
    model.save_pretrained(folder)
