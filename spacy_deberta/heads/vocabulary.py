"""Cross-entropy over a vocabulary, a few rows at a time.

Logits of a whole batch fill hundreds of megabytes, and torch writes them five times over: widened,
as log-probabilities, as three gradients. Here a few rows at a time stay in the processor's cache,
and nothing but the gradient is written as a whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MANY_CLASSES = 1024  # from how many on this is the faster way
CHUNK = 2**18  # logits at a time


def vocabulary_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Sum of the softmax cross-entropies of rows, computed in float32 at least.

    Args:
        logits: (N, V).
        classes: (N,); negative = ignored.
    """
    total: Tensor = _VocabularyLoss.apply(logits, classes)  # type: ignore[no-untyped-call]
    return total


class _VocabularyLoss(torch.autograd.Function):
    """`vocabulary_loss`, without second derivatives."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, classes: Tensor) -> Tensor:
        ctx.save_for_backward(logits, classes)
        buffer = _buffer(logits)
        total = buffer.new_zeros(())
        for rows, labels in zip(*_chunks(logits, classes), strict=True):
            wide = buffer[: len(rows)].copy_(rows)
            mine = wide.gather(-1, labels.clamp(min=0)[:, None]).squeeze(-1)
            largest = wide.amax(-1)
            # The largest share is its exponent over the sum: the sum's logarithm is exact by it.
            shares = torch.softmax(wide, -1, out=wide)
            losses = largest - shares.amax(-1).log_() - mine
            total += losses.masked_fill_(labels < 0, 0.0).sum()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, classes = ctx.saved_tensors
        buffer, below = _buffer(logits), torch.empty_like(logits)
        less = buffer.new_full((len(buffer), 1), -1)
        for rows, labels, target in zip(*_chunks(logits, classes, below), strict=True):
            wide = buffer[: len(rows)].copy_(rows)
            shares = torch.softmax(wide, -1, out=wide)
            shares.scatter_add_(-1, labels.clamp(min=0)[:, None], less[: len(rows)])
            shares.mul_(gradients[0]).masked_fill_(labels[:, None] < 0, 0.0)
            target.copy_(shares)
        return below, None


def _buffer(logits: Tensor) -> Tensor:
    """For the logits of a chunk, at least float32."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    n_rows = min(len(logits), _n_rows(logits))
    return torch.empty(n_rows, logits.shape[-1], dtype=dtype, device=logits.device)


def _n_rows(logits: Tensor) -> int:
    return max(1, CHUNK // logits.shape[-1])


def _chunks(logits: Tensor, *others: Tensor) -> list[tuple[Tensor, ...]]:
    return [tensor.split(_n_rows(logits)) for tensor in (logits, *others)]
