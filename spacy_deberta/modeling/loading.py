"""What is asked of a checkpoint beside what it holds: other labels, fresh heads, a precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from spacy_deberta.checkpoints import Checkpoint
from spacy_deberta.errors import ConfigError

_DTYPES = ("float32", "float16", "bfloat16", "float64")
_BY_LABEL = "classifier."  # tensors whose size is the number of labels


def with_labels(
    checkpoint: Checkpoint, num_labels: int | None, id2label: Mapping[int, str] | None
) -> Checkpoint:
    """The checkpoint with other labels in its config; the old names stay if none are given.

    Raises:
        ConfigError: a number of labels that does not fit their names.
    """
    config = checkpoint.config
    if id2label is None and num_labels in (None, config.num_labels):
        return checkpoint
    names = {} if id2label is None else id2label
    size = len(names) if num_labels is None else num_labels
    changed = replace(config, num_labels=size, id2label=names)
    return replace(checkpoint, config=changed)


def with_fresh_heads(checkpoint: Checkpoint, heads: Mapping[str, nn.Module]) -> Checkpoint:
    """The checkpoint with a new head for each that it does not hold.

    A classifier of another number of labels counts as not held; the rest of its head stays.

    Args:
        checkpoint: what is there; its config gives the shapes.
        heads: those wanted, by kind.
    """
    found = dict(checkpoint.heads)
    for kind, module in heads.items():
        wanted = module.state_dict()
        held = found.get(kind, {})
        kept = {
            name: tensor
            for name, tensor in held.items()
            if not (name.startswith(_BY_LABEL) and tensor.shape != wanted[name].shape)
        }
        if not held or len(kept) < len(held):
            found[kind] = {**type(module)(checkpoint.config).state_dict(), **kept}
    return replace(checkpoint, heads=found)


def read_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A precision by its name; None = float32.

    Raises:
        ConfigError: no floating-point precision of that name.
    """
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r} is unknown; supported: {', '.join(_DTYPES)}.")
    found: torch.dtype = getattr(torch, name)
    return found
