"""Mean losses over the targets that count.

A negative target counts nowhere, whatever its value, and where none counts the loss is 0 with a
gradient of 0: a batch without targets leaves a training step harmless. `transformers` ignores -100
only and gives NaN there. Half-precision logits are widened first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_deberta.errors import DataError
from spacy_deberta.heads.vocabulary import MANY_CLASSES, vocabulary_loss

_IGNORED = -100  # what torch calls a target that does not count


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy. Over a vocabulary, on a CPU, it has no second derivatives.

    Args:
        logits: (..., C).
        labels: (...) classes; negative = ignored.

    Returns:
        A scalar, at least float32.

    Raises:
        DataError: labels of another shape, or a class that has no logit.
    """
    check_shape(labels, logits.shape[:-1])
    rows, classes = logits.flatten(0, -2), labels.flatten().long()
    _check_classes(classes, rows.shape[-1])
    counted = classes >= 0
    if _is_vocabulary(rows):
        total = vocabulary_loss(rows, classes)
    else:
        known = classes.masked_fill(~counted, _IGNORED)
        total = F.cross_entropy(widen(rows), known, ignore_index=_IGNORED, reduction="sum")
    return total / counted.sum().clamp(min=1)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid cross-entropy.

    Args:
        logits: (...).
        targets: (...) from 0 to 1; negative = ignored.

    Returns:
        A scalar, at least float32.

    Raises:
        DataError: targets of another shape.
    """
    check_shape(targets, logits.shape)
    wide = widen(logits)
    counted = targets >= 0
    losses = F.binary_cross_entropy_with_logits(
        wide, targets.to(wide.dtype).clamp(min=0), reduction="none"
    )
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def _is_vocabulary(rows: Tensor) -> bool:
    """Whether to go by a few rows at a time; other devices have no small caches to stay in."""
    is_plain = rows.device.type == "cpu" and not torch.compiler.is_compiling()
    return is_plain and rows.shape[-1] >= MANY_CLASSES


def widen(logits: Tensor) -> Tensor:
    """The same numbers in float32, or float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_shape(labels: Tensor, expected: Sequence[int]) -> None:
    """Refuse labels that torch would broadcast against the logits.

    Raises:
        DataError: naming both shapes.
    """
    if labels.shape != torch.Size(expected):
        raise DataError(
            f"labels: found shape {tuple(labels.shape)}, expected {tuple(expected)}, "
            "one target for each prediction."
        )


def _check_classes(classes: Tensor, n_classes: int) -> None:
    """On a CUDA device an index out of range would end the process, not raise."""
    if torch.compiler.is_compiling() or not classes.numel():
        return
    largest = int(classes.max())
    if largest >= n_classes:
        raise DataError(
            f"labels: found class {largest}, expected classes from 0 to {n_classes - 1}, or a "
            "negative number for a target to ignore."
        )
