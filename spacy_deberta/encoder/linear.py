"""The linear map of every projection, by the fastest library that torch carries.

torch multiplies float32 on a CPU with MKL. oneDNN, which torch carries too and uses for bfloat16,
is as exact. On one core of an AMD EPYC (family 26, 384 x 1536) it is 2.1 times as fast forward and
1.7 to 2.1 times backward at 2,048 rows; 3.9 and 2.0 to 2.2 times at 32. On Intel's processors MKL
is ahead: by 4 to 8 % at 1,024 rows, by 1.2 to 1.6 times in attention's small products, and by 15 to
25 % with a weight in its own arrangement.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spacy_deberta.encoder.cache import WeightCache, can_keep

FEW_ROWS = 512  # up to which a weight in oneDNN's own arrangement is worth its memory
VENDOR_WITHIN = 256  # characters of /proc/cpuinfo
SINGLY_FROM = 2**22  # multiplications in a product from which single calls beat one for a batch


Product = Callable[[Tensor, Tensor | None], Tensor]  # of rows with a weight, and the bias added


class Linear(nn.Linear):
    """`nn.Linear` through `linear`.

    For few rows, a library spends as much time on arranging the weight as on the product, so the
    arranged weight is kept: a second copy, which only calls with few rows make. The choice depends
    on the number of rows alone: a call gives the same bits whatever was called before.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._arranged: WeightCache[Product] = WeightCache()

    def forward(self, rows: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        few = rows.numel() <= FEW_ROWS * self.in_features
        if few and can_keep([self.weight]) and _can_onednn(rows, self.weight):
            return self._arranged.get_kept([self.weight], self._arrange)(rows, self.bias)
        return linear(rows, self.weight, self.bias)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; the weight may change from here on."""
        if mode:
            self._arranged.clear()
        return super().train(mode)

    def _arrange(self) -> Product:
        weight = self.weight.detach()
        mkl = weight.dtype == torch.float32 and _has_intels_mkl()
        return _arranged_for_mkl(weight) if mkl else _arranged_for_onednn(weight)


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply rows with the transposed weight and add the bias.

    Args:
        rows: (..., in).
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (..., out).
    """
    if not _suits_onednn(rows, weight):
        return F.linear(rows, weight, bias)
    trained = (rows, weight) if bias is None else (rows, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in trained):
        product: Tensor = _OneDnnLinear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
        return product
    return _product(rows, weight, bias)


def pairwise(rows: Tensor, others: Tensor) -> Tensor:
    """Products of rows with rows.

    Args:
        rows: (G, M, D).
        others: (G, N, D).

    Returns:
        (G, M, N), contiguous.
    """
    if not _suits_onednn_singly(rows, others):
        return torch.bmm(rows, _adjacent(others).transpose(-1, -2))
    products = [_product(a, b, None) for a, b in zip(rows, _dense(others), strict=True)]
    return products[0][None] if len(products) == 1 else torch.stack(products)


def add_pairwise_(sums: Tensor, rows: Tensor, others: Tensor, scale: float) -> None:
    """Add scale times `pairwise` to sums (G, M, N)."""
    if not _suits_onednn_singly(rows, others):
        sums.baddbmm_(rows, others.transpose(-1, -2), alpha=scale)
        return
    for number, (a, b) in enumerate(zip(rows, _dense(others), strict=True)):
        sums[number].add_(_product(a, b, None), alpha=scale)


def _suits_onednn_singly(rows: Tensor, others: Tensor) -> bool:
    """Whether a product of each pair alone beats one call for all."""
    work = rows.shape[1] * others.shape[1] * rows.shape[2]
    return rows.dtype == torch.float32 and work >= SINGLY_FROM and _suits_onednn(rows, others)


def _adjacent(others: Tensor) -> Tensor:
    """The same, each matrix right behind the one before it.

    In 16 bits torch copies matrices that lie apart and transposes them as it does, which takes some
    ten times as long as to copy their rows.
    """
    in_16_bits = others.dtype in {torch.bfloat16, torch.float16}
    apart = in_16_bits and others.is_cpu and others.stride(-1) == 1
    return others.contiguous() if apart else others


def _dense(weights: Tensor) -> Tensor:
    """The same in rows that follow each other: with others, oneDNN takes a slow way."""
    one = weights[0]
    return weights if one.is_contiguous() or one.t().is_contiguous() else weights.contiguous()


def _suits_onednn(rows: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is the faster one for a weight that is not arranged."""
    if not _can_onednn(rows, weight):
        return False
    return rows.dtype != torch.float32 or not _has_intels_mkl()


def _can_onednn(rows: Tensor, weight: Tensor) -> bool:
    return (
        rows.dtype == weight.dtype
        and (rows.dtype == torch.float32 or _is_fast_bfloat16(rows.dtype))
        and rows.device.type == "cpu"
        and rows.ndim > 1
        and rows.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _has_onednn()
    )


def _is_fast_bfloat16(dtype: torch.dtype) -> bool:
    """Without gradients only: those of bfloat16 weights are summed in more bits by torch."""
    return dtype == torch.bfloat16 and not torch.is_grad_enabled()


@cache
def _has_intels_mkl() -> bool:
    """Whether MKL is there on a processor of its maker's, where alone it takes its best way."""
    intels = torch.backends.mkl.is_available() and "GenuineIntel" in _processor()
    return intels and _multiplies(_arranged_for_mkl)


@cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and _multiplies(_arranged_for_onednn)


def _multiplies(arranged: Callable[[Tensor], Product]) -> bool:
    """Whether operators that are private to torch are there and give the right product."""
    rows, weight = torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    try:
        return torch.equal(arranged(weight)(rows, None), weight.T)
    except (AttributeError, RuntimeError):
        return False


def _processor() -> str:
    """What the system says of the first processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as described:  # Linux
            return described.read(VENDOR_WITHIN)
    except OSError:
        return platform.processor()


def _arranged_for_mkl(weight: Tensor) -> Product:
    """MKL's arrangement serves any number of rows; torch wants to be told the one it was made for.

    Source: Intel, oneMKL reference, cblas_?gemm_pack: over a sequence of calls only the layout has
    to stay the same.
    """
    arranged = torch.ops.mkl._mkl_reorder_linear_weight(weight, FEW_ROWS)

    def product(rows: Tensor, bias: Tensor | None) -> Tensor:
        n_rows = rows.shape[:-1].numel()
        found: Tensor = torch.ops.mkl._mkl_linear(rows, arranged, weight, bias, n_rows)
        return found

    return product


def _arranged_for_onednn(weight: Tensor) -> Product:
    arranged = torch.ops.mkldnn._reorder_linear_weight(weight, FEW_ROWS)
    return lambda rows, bias: _product(rows, arranged, bias)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


class _OneDnnLinear(torch.autograd.Function):
    """The product with its three gradients, each one again a product of the same kind."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        above = gradients[0].flatten(0, -2)
        needs_rows, needs_weight, needs_bias = ctx.needs_input_grad
        below = by_weight = by_bias = None
        if needs_rows:
            below = _product(above, weight.t(), None).view_as(rows)
        if needs_weight:
            by_weight = _product(above.t(), rows.flatten(0, -2).t(), None)
        if needs_bias:
            by_bias = above.sum(0)
        return below, by_weight, by_bias
