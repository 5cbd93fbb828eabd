"""The two ways in which files lay out an encoder, and the one way of our modules.

The files of version 1 hold query, key and value of a layer as one matrix, head by head:

    rows of in_proj   | head 0: q k v | head 1: q k v | ...    each part head_width rows high

All later files hold three matrices. A layout is chosen by the config's model_type alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spacy_deberta.checkpoints.names import (
    ENCODER_NAMES,
    FUSED_ENCODER_NAMES,
    inverted,
    rename,
)
from spacy_deberta.config import DebertaConfig

FUSED_MODEL_TYPE = DebertaConfig.model_type

_FUSED = ".fused.weight"
_PARTS = (".query.weight", ".key.weight", ".value.weight")


def encoder_names(config: DebertaConfig) -> dict[str, str]:
    """The table of the encoder's names in files of this config."""
    return FUSED_ENCODER_NAMES if _is_fused(config) else ENCODER_NAMES


def file_names(config: DebertaConfig) -> dict[str, str]:
    """Our names to those of the file; parts of a fused matrix all to the matrix."""
    names = inverted(encoder_names(config))
    for ours in [ours for ours in names if ours.endswith(_FUSED)]:
        theirs = names.pop(ours)
        names |= {ours.removesuffix(_FUSED) + part: theirs for part in _PARTS}
    return names


def to_modules(tensors: Mapping[str, Tensor], config: DebertaConfig) -> dict[str, Tensor]:
    """Tensors by the file's names, without prefix, to tensors by the names of our encoder.

    Args:
        tensors: names of `encoder_names(config)` only, in the shapes of the config.
        config: decides the layout.
    """
    state: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        ours = str(rename(theirs, encoder_names(config)))
        if ours.endswith(_FUSED):
            split = split_heads(tensor, config.num_attention_heads)
            stem = ours.removesuffix(_FUSED)
            state |= {stem + part: rows for part, rows in zip(_PARTS, split, strict=True)}
        else:
            state[ours] = tensor
    return state


def to_file(state: Mapping[str, Tensor], config: DebertaConfig) -> dict[str, Tensor]:
    """The inverse of `to_modules`, for a complete encoder."""
    names = inverted(encoder_names(config))
    tensors: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        if not (_is_fused(config) and ours.endswith(_PARTS)):
            tensors[str(rename(ours, names))] = tensor
        elif ours.endswith(_PARTS[0]):
            stem = ours.removesuffix(_PARTS[0])
            parts = [state[stem + part] for part in _PARTS]
            fused = fuse_heads(parts, config.num_attention_heads)
            tensors[str(rename(stem + _FUSED, names))] = fused
    return tensors


def split_heads(fused: Tensor, n_heads: int) -> tuple[Tensor, ...]:
    """Query, key and value matrix out of one.

    Args:
        fused: (3 * hidden_size, in), head-major.
        n_heads: A.

    Returns:
        Three of (hidden_size, in), in the order of the heads.
    """
    parts = fused.unflatten(0, (n_heads, 3, -1)).unbind(1)  # (A, D, in) each
    return tuple(part.flatten(0, 1) for part in parts)


def fuse_heads(parts: list[Tensor], n_heads: int) -> Tensor:
    """The inverse of `split_heads`."""
    return torch.stack([part.unflatten(0, (n_heads, -1)) for part in parts], 1).flatten(0, 2)


def _is_fused(config: DebertaConfig) -> bool:
    return config.model_type == FUSED_MODEL_TYPE
