"""Dropout whose random numbers do not hold up a CPU.

torch draws one of 64 bits for each, on one thread: a third of a small training step. A quarter of
such a number is enough.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16  # a share is rounded to a multiple of 1 / LEVELS


class Dropout(nn.Dropout):
    """`nn.Dropout` through `dropout`."""

    def forward(self, rows: Tensor) -> Tensor:
        """Any shape."""
        return dropout(rows, self.p) if self.training else rows


def dropout(rows: Tensor, share: float) -> Tensor:
    """Zero a share of the numbers, drawn from torch's generator, and scale up the rest."""
    if share == 0.0:
        return rows
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(rows, share)
    dropped: Tensor = _Dropout.apply(rows, share)  # type: ignore[no-untyped-call]
    return dropped


class _Dropout(torch.autograd.Function):
    """The product with a random mask."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, share: float) -> Tensor:
        n_dropped = round(share * LEVELS)
        mask = _random_levels(rows) >= n_dropped - LEVELS // 2
        ctx.save_for_backward(mask)
        ctx.scale = LEVELS / (LEVELS - n_dropped) if n_dropped < LEVELS else 0.0
        return _masked(rows, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return _masked(gradients[0], mask, ctx.scale), None


def _masked(rows: Tensor, mask: Tensor, scale: float) -> Tensor:
    return mask.to(rows.dtype).mul_(rows).mul_(scale)


def _random_levels(rows: Tensor) -> Tensor:
    """Of the same shape, whole numbers from -LEVELS // 2 up: four from each draw of 64 bits."""
    n_draws = -(-rows.numel() // 4)
    draws = torch.empty(n_draws, dtype=torch.int64).random_(-(2**63), None)
    return draws.view(torch.int16)[: rows.numel()].view(rows.shape)
