"""A batch as real pieces plus lengths, and the groups in which attention runs over it.

Everything but attention works on one row per real piece. Attention needs sequences of one length:
they are sorted by length and cut into groups, so that equal lengths cost no padding at all and a
group of mixed lengths is padded by a bounded share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.errors import AlignmentError

FEW_ROWS, MANY_ROWS = 16, 64  # packed rows are rounded up to a multiple of the first below ...
ROUND_MORE_FROM = 256  # ... this many rows, of the second from there on
PADDED_SHARE = 1.15  # slots per real piece in one group; beyond it, a new group is cheaper
GROUP_SCORES = 131_072  # scores per head in one group: its matrices stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Group:
    """Sequences that attend in one rectangle.

    Attributes:
        start: first packed row.
        stop: last packed row + 1.
        count: sequences, B.
        length: slots of each, L.
        slots: (stop - start,) slot of each row in the B * L rectangle; None = all are filled.
        keep: (B, L) bool, true = filled and attended to; None = all.
        filled: slots before this place are kept in all sequences.
    """

    start: int
    stop: int
    count: int
    length: int
    slots: Tensor | None
    keep: Tensor | None
    filled: int = 0
    indexes: dict[int, Tensor] = field(default_factory=dict, repr=False)  # of `by_heads`

    def by_heads(self, rows: Tensor, n_heads: int) -> Tensor:
        """This group's rows (stop - start, H * D) as (B, H, L, D).

        Empty slots hold some row of the group: nothing attends to them, and nobody reads what they
        attend to. That spares filling the rectangle with zeros, and each head's rows lie together.
        """
        if self.slots is None:
            rectangle = rows.unflatten(0, (self.count, self.length))
            return rectangle.unflatten(-1, (n_heads, -1)).transpose(1, 2)
        if n_heads not in self.indexes:
            self.indexes[n_heads] = self._index(self.slots, n_heads)
        found: Tensor = _RowsByHeads.apply(rows, self.indexes[n_heads], self.slots)  # type: ignore[no-untyped-call]
        return found.unflatten(1, (self.count, self.length)).transpose(0, 1)

    def _index(self, slots: Tensor, n_heads: int) -> Tensor:
        """(H, B * L) which of the parts (stop - start) * H of rows stands in a slot."""
        owners = slots.new_zeros(self.count * self.length)
        owners[slots] = torch.arange(len(slots), device=slots.device)
        return owners * n_heads + torch.arange(n_heads, device=slots.device)[:, None]

    def spread(self, rows: Tensor) -> Tensor:
        """(N, ...) packed rows to this group's rectangle (B, L, ...), zeros in empty slots."""
        mine = rows[self.start : self.stop]
        if self.slots is not None:
            padded = mine.new_zeros(self.count * self.length, *mine.shape[1:])
            mine = padded.index_copy(0, self.slots, mine)
        return mine.unflatten(0, (self.count, self.length))

    def gather(self, rectangle: Tensor) -> Tensor:
        """(B, L, ...) to the group's real rows (stop - start, ...)."""
        rows = rectangle.flatten(0, 1)
        return rows if self.slots is None else rows.index_select(0, self.slots)


@dataclass(frozen=True, eq=False)
class Packing:
    """How N rows in the caller's order are arranged for the encoder.

    Attributes:
        order: (P,) the caller's row of each packed row; P is N rounded up, and the rows after the
            first N are copies that nobody reads.
        inverse: (N,) the packed row of each of the caller's rows.
        positions: (P,) place of each packed row in its sequence.
        n_spare: P - N.
        longest: longest sequence, 0 without any.
        groups: ranges of packed rows, in order.
        sequences: the caller's number of each packed sequence.
    """

    order: Tensor
    inverse: Tensor
    positions: Tensor
    n_spare: int
    longest: int
    groups: tuple[Group, ...]
    sequences: tuple[int, ...]

    def with_holes(self, holes: Tensor) -> Packing:
        """The same without attention to some rows.

        Args:
            holes: (P,) bool by packed row, true = no piece attends to it.
        """
        kept = ~holes
        groups = (
            replace(group, keep=some_kept(group.spread(kept)), filled=0) for group in self.groups
        )
        return replace(self, groups=tuple(groups))

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """(P, ...) packed rows to those of each group."""
        if len(self.groups) == 1 and not self.n_spare:
            return (rows,)
        sizes = [group.stop - group.start for group in self.groups]
        return rows.split([*sizes, self.n_spare])[: len(sizes)]

    def restored(self, rows: Tensor, holes: Tensor | None) -> Tensor:
        """(P, W) packed rows to (N, W) in the caller's order, zeros in holes (N,)."""
        mine = rows.index_select(0, self.inverse)
        return mine if holes is None else mine.masked_fill(holes[:, None], 0.0)

    def squares(
        self, rectangles: Sequence[Tensor], lengths: Sequence[int], holes: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Attention probabilities by sequence.

        Args:
            rectangles: (B, H, L, L) of each group.
            lengths: pieces of each sequence in the caller's order.
            holes: (N,) bool in the caller's order.

        Returns:
            (H, L, L) of each sequence in the caller's order, zeros in the rows of holes.
        """
        sizes = [int(length) for length in lengths]
        padded = (square for rectangle in rectangles for square in rectangle)
        found = {
            number: square[:, : sizes[number], : sizes[number]]
            for number, square in zip(self.sequences, padded, strict=True)
        }
        ordered = tuple(found[number] for number in range(len(sizes)))
        if holes is None:
            return ordered
        blank = holes.split(sizes)
        return tuple(
            square.masked_fill(hole[:, None], 0.0)
            for square, hole in zip(ordered, blank, strict=True)
        )


class _RowsByHeads(torch.autograd.Function):
    """Rows (n, H * D) to (H, B * L, D); a gradient comes from the slots that are filled alone."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        parts = rows.reshape(rows.shape[0] * index.shape[0], -1)
        return parts.index_select(0, index.flatten()).view(*index.shape, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        return gradients[0].index_select(1, slots).transpose(0, 1).flatten(1), None, None


def some_kept(keep: Tensor) -> Tensor:
    """(B, L) bool with all slots of a sequence kept where none is: softmax over none is NaN."""
    return keep | ~keep.any(-1, keepdim=True)


def pack(lengths: Sequence[int], n_rows: int, device: torch.device) -> Packing:
    """Arrange sequences of these lengths, concatenated in the caller's order.

    Raises:
        AlignmentError: a length below 1, or lengths that do not add up to n_rows.
    """
    sizes = np.asarray(lengths, dtype=np.int64).reshape(-1)
    if sizes.sum() != n_rows or (sizes < 1).any():
        raise AlignmentError(
            f"lengths: {len(sizes)} sequences of {sizes.sum()} pieces in all, found {n_rows} "
            "pieces; expected one length of at least 1 per sequence, adding up to the pieces."
        )
    by_length = np.argsort(sizes, kind="stable")
    sorted_sizes = sizes[by_length]
    starts = np.cumsum(sizes) - sizes
    packed_starts = np.cumsum(sorted_sizes) - sorted_sizes
    positions = np.arange(n_rows) - np.repeat(packed_starts, sorted_sizes)
    order = np.repeat(starts[by_length], sorted_sizes) + positions
    inverse = np.empty_like(order)
    inverse[order] = np.arange(n_rows)
    n_spare = round_rows(n_rows) - n_rows
    return Packing(
        order=torch.from_numpy(np.pad(order, (0, n_spare))).to(device),
        inverse=torch.from_numpy(inverse).to(device),
        positions=torch.from_numpy(np.pad(positions, (0, n_spare))).to(device),
        n_spare=n_spare,
        longest=int(sorted_sizes[-1]) if len(sizes) else 0,
        groups=tuple(_groups(sorted_sizes, device)),
        sequences=tuple(by_length.tolist()),
    )


def pack_rectangle(keep: Tensor) -> Packing:
    """One group of all B * L slots in the caller's order, filled or not.

    Nothing here looks at a size's value or at the mask's content, so that a program traced with one
    rectangle holds for all.

    Args:
        keep: (B, L) bool, true = a real piece.
    """
    count, length = keep.shape
    order = torch.arange(count * length, device=keep.device)
    group = Group(0, count * length, count, length, None, some_kept(keep))
    places = torch.arange(length, device=keep.device).expand(count, -1).flatten()
    return Packing(order, order, places, 0, length, (group,), ())


def round_rows(n_rows: int) -> int:
    """Round up, so that a run meets few numbers of rows: libraries compile a kernel for each."""
    multiple = FEW_ROWS if n_rows < ROUND_MORE_FROM else MANY_ROWS
    return -(-n_rows // multiple) * multiple


def _groups(sizes: np.ndarray[tuple[int], np.dtype[np.int64]], device: torch.device) -> list[Group]:
    """Cut ascending sizes where one more sequence would pad too much or outgrow the cache."""
    groups = []
    first, start, filled = 0, 0, 0
    for number, size in enumerate(sizes.tolist()):
        slots = (number - first + 1) * size
        if filled and (slots > PADDED_SHARE * (filled + size) or slots * size > GROUP_SCORES):
            groups.append(_group(sizes[first:number], start, device))
            first, start, filled = number, start + filled, 0
        filled += size
    if filled:
        groups.append(_group(sizes[first:], start, device))
    return groups


def _group(
    sizes: np.ndarray[tuple[int], np.dtype[np.int64]], start: int, device: torch.device
) -> Group:
    longest, rows = int(sizes[-1]), int(sizes.sum())
    slots = keep = None
    if rows < longest * len(sizes):
        filled = np.arange(longest)[None, :] < sizes[:, None]
        slots = torch.from_numpy(np.flatnonzero(filled)).to(device)
        keep = torch.from_numpy(filled).to(device)
    return Group(start, start + rows, len(sizes), longest, slots, keep, filled=int(sizes[0]))
