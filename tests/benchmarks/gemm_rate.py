"""How fast this machine multiplies matrices and reads memory: what bounds an encoder's linear maps.

The weights of several layers are used in turn, as an encoder does, so that few rows pay for
reading them from memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_deberta.encoder.linear import linear
from tests.benchmarks.speed_cells import SEED

ROWS = (16, 128, 256, 1024)
IN, OUT = 768, 3072
WEIGHTS = 12  # of 9.4 MB in float32: together more than a processor's cache
PASSES = 9  # over all weights; after one that does not count
READ_BYTES = 2**28
BF16_FLAGS = {"amx_bf16", "avx512_bf16"}

Map = Callable[[Tensor, Tensor, Tensor], Tensor]


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself; known on Linux only."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return False
    flags = next(
        (line for line in information.read_text(encoding="utf-8").splitlines() if "flags" in line),
        "",
    )
    return not BF16_FLAGS.isdisjoint(flags.split())


def measure_rates(dtype: torch.dtype) -> dict[str, dict[int, float]]:
    """GFLOP/s by number of rows: of the faster of torch's linear map and ours, and of packed maps.

    "packed" is oneDNN's product with weights that it has rearranged, where torch has it.
    """
    generator = torch.Generator().manual_seed(SEED)
    weights = [torch.randn(OUT, IN, generator=generator).to(dtype) for _ in range(WEIGHTS)]
    kinds: dict[str, tuple[Sequence[Map], Sequence[Tensor]]] = {"": ((F.linear, linear), weights)}
    with torch.inference_mode():
        packed = _pack(weights)
        if packed:
            kinds["packed"] = ((_packed_linear,), packed)
        return {
            kind: {n_rows: _rate(maps, n_rows, used) for n_rows in ROWS}
            for kind, (maps, used) in kinds.items()
        }


def measure_reading() -> float:
    """GB/s of reading memory, by all threads of torch together."""
    memory = torch.ones(READ_BYTES // 4)
    seconds = []
    for _ in range(1 + PASSES):
        start = time.perf_counter()
        memory.sum()
        seconds.append(time.perf_counter() - start)
    return READ_BYTES / min(seconds) / 1e9


def _pack(weights: Sequence[Tensor]) -> list[Tensor]:
    """The weights as oneDNN likes them; none where this torch cannot do it: the name is private."""
    try:
        packed = [torch.ops.mkldnn._reorder_linear_weight(weight) for weight in weights]
        _packed_linear(
            torch.zeros(1, IN, dtype=weights[0].dtype), packed[0], weights[0].new_zeros(OUT)
        )
    except (AttributeError, RuntimeError):
        return []
    return packed


def _packed_linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


def _rate(maps: Sequence[Map], n_rows: int, weights: Sequence[Tensor]) -> float:
    """GFLOP/s of the fastest of several maps."""
    rows = torch.ones(n_rows, IN, dtype=weights[0].dtype)
    bias = torch.zeros(OUT, dtype=weights[0].dtype)
    seconds = min(_time(map_rows, rows, weights, bias) for map_rows in maps)
    return 2.0 * n_rows * IN * OUT / seconds / 1e9


def _time(map_rows: Map, rows: Tensor, weights: Sequence[Tensor], bias: Tensor) -> float:
    """Seconds of one product, in the fastest pass over all weights."""
    passes = []
    for _ in range(1 + PASSES):
        start = time.perf_counter()
        for weight in weights:
            map_rows(rows, weight, bias)
        passes.append((time.perf_counter() - start) / len(weights))
    return min(passes[1:])
