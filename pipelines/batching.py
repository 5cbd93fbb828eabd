"""Which rows go through the model together: similar lengths, under a budget of pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

_RECTANGLE = 2  # most places of a rectangle, padding included, in budgets of pieces


@dataclass(frozen=True, eq=False)
class Row:
    """One sequence for the model.

    Attributes:
        ids: numbers of its pieces, special ones included; a list or an array.
        types: 0 or 1 for each piece, of which text it is; None = all 0.
        extra: whatever decoding needs: offsets, place of the window, ...
    """

    ids: Sequence[int] | np.ndarray[Any, Any]
    types: Sequence[int] | np.ndarray[Any, Any] | None = None
    extra: Any = None

    def __len__(self) -> int:
        return len(self.ids)


def plan_batches(lengths: Sequence[int], budget: int, most: int) -> list[list[int]]:
    """Cut rows into batches, longest first.

    The model computes on real pieces only, but the rectangle of a batch is in memory: it has at
    most twice the budget.

    Args:
        lengths: pieces of each row.
        budget: pieces of a batch; a longer row is alone.
        most: rows of a batch.

    Returns:
        Numbers of the rows of each batch.
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    batches: list[list[int]] = []
    room = rows = 0
    for number in order:
        if lengths[number] > room or not rows:
            batches.append([])
            room = budget
            rows = min(most, max(1, _RECTANGLE * budget // max(1, lengths[number])))
        batches[-1].append(number)
        room -= lengths[number]
        rows -= 1
    return batches


def collate(rows: Sequence[Row], pad_id: int, device: torch.device) -> dict[str, Tensor]:
    """A padded rectangle: the arguments of a model.

    Returns:
        input_ids (B, L), attention_mask (B, L) unless all rows are of one length, and
        token_type_ids (B, L) if any row has types.
    """
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    width = int(lengths.max())
    keep = np.arange(width) < lengths[:, None]
    found = {"input_ids": _fill(keep, [row.ids for row in rows], pad_id)}
    if any(row.types is not None for row in rows):
        types = [[0] * len(row) if row.types is None else row.types for row in rows]
        found["token_type_ids"] = _fill(keep, types, 0)
    if int(lengths.min()) < width:
        found["attention_mask"] = keep.astype(np.int64)
    return {name: torch.from_numpy(values).to(device) for name, values in found.items()}


def cut_rows(values: Tensor, rows: Sequence[Row]) -> list[Any]:
    """The part of each row in a model's output, without padding, as float32 in numpy.

    Args:
        values: (B, L, ...).
        rows: those of the batch.

    Returns:
        (len(row), ...) each, with memory of its own.
    """
    array = values.float().cpu().numpy()
    return [array[number, : len(row)].copy() for number, row in enumerate(rows)]


def blocks(items: Iterable[tuple[T, int]], n_items: int, n_pieces: int) -> Iterator[list[T]]:
    """Cut a stream into blocks.

    Args:
        items: each with its size.
        n_items: most items of a block.
        n_pieces: a block ends with the item that reaches this size.
    """
    block: list[T] = []
    size = 0
    for item, weight in items:
        block.append(item)
        size += weight
        if len(block) >= n_items or size >= n_pieces:
            yield block
            block, size = [], 0
    if block:
        yield block


def _fill(keep: np.ndarray[Any, Any], rows: Sequence[Any], fill: int) -> np.ndarray[Any, Any]:
    values = np.full(keep.shape, fill, dtype=np.int64)
    values[keep] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return values
