"""Softmax over rows of any length, by the fastest way that torch has for it.

torch computes a row in lanes of 64 bytes and what is left over number by number, which takes five
to twenty times as long for each, most in bfloat16; rows shorter than a lane are left over as a
whole. Measured with torch 2.13 on processors with AVX-512 (tests/benchmarks/NOTES.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

LANE_BYTES = 64
SHORT = 16  # numbers of a row: a lane in float32
LEFT_OVER = 0.1  # from this share of a row on, another way than torch's is faster


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, without gradient; the scores are lost.

    Args:
        scores: (..., L), at least one finite in every row.

    Returns:
        (..., L), of the same type: often the same tensor.
    """
    length = scores.shape[-1]
    if scores.device.type != "cpu":
        return torch.softmax(scores, -1)
    wide = torch.promote_types(scores.dtype, torch.float32)
    if length < SHORT:
        exponents = scores.to(wide)
        exponents.sub_(exponents.amax(-1, keepdim=True)).exp_()
        return exponents.div_(exponents.sum(-1, keepdim=True)).to(scores.dtype)
    if length % (LANE_BYTES // scores.element_size()) < LEFT_OVER * length:
        return torch.softmax(scores, -1, out=scores)
    # In float32 fewer are left over, and torch computes in it anyway; `out=` is slower here.
    return torch.softmax(scores.to(wide), -1).to(scores.dtype)
