"""From a rectangle to the packed rows that the encoder computes on, and back.

    rectangle     keep        packed            lengths   holes
    a b c .       1 1 1 0     a b c d e f g     3, 4      0 0 0 0 0 1 0
    d e f g       1 1 0 1

Padding at either end is dropped. A masked piece between real ones stays as a hole, so that the
distances across it are those of the rectangle. Sequences without any real piece are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import EncoderInputs
from spacy_deberta.errors import DataError
from spacy_deberta.modeling.inputs import Rectangle, check_range


@dataclass(frozen=True, eq=False)
class Spans:
    """Which part of each sequence has rows.

    Attributes:
        keep: (B, L) bool, true = a real piece.
        slots: (N,) place of each row among the B * L; None = all of them, in order.
        starts: first column of each sequence's rows; None = it has none.
        lengths: rows of each sequence that has any, adding up to N.
        holes: (N,) bool, true = a masked piece; None = no row is.
    """

    keep: Tensor
    slots: Tensor | None
    starts: Sequence[int | None]
    lengths: Sequence[int]
    holes: Tensor | None

    def pick(self, values: Tensor) -> Tensor:
        """(B, L, ...) to (N, ...)."""
        rows = values.flatten(0, 1)
        return rows if self.slots is None else rows[self.slots]

    def spread(self, rows: Tensor) -> Tensor:
        """(N, ...) to (B, L, ...), zeros where no row is."""
        if self.slots is None:
            return rows.unflatten(0, self.keep.shape)
        empty = rows.new_zeros(self.keep.numel(), *rows.shape[1:])
        return empty.index_copy(0, self.slots, rows).unflatten(0, self.keep.shape)

    def spread_squares(self, squares: Sequence[Tensor], n_heads: int) -> Tensor:
        """(A, L_i, L_i) of each sequence with rows to (B, A, L, L), zeros where no row is."""
        n_sequences, width = self.keep.shape
        like = squares[0] if squares else torch.zeros((), device=self.keep.device)
        full = like.new_zeros(n_sequences, n_heads, width, width)
        found = iter(squares)
        for number, start in enumerate(self.starts):
            if start is not None:
                square = next(found)
                stop = start + square.shape[-1]
                full[number, :, start:stop, start:stop] = square
        return full


@dataclass(frozen=True, eq=False)
class Packed:
    """A rectangle's rows as the encoder takes them.

    Attributes:
        spans: where they are in the rectangle.
        pieces: (N,) ids or None.
        extras: what else the encoder takes, (N, ...) each.
    """

    spans: Spans
    pieces: Tensor | None
    extras: EncoderInputs


def pack_rectangle(rectangle: Rectangle, config: DebertaConfig) -> Packed:
    """Drop the padding of a batch.

    Raises:
        DataError: ids, types or positions that the encoder's tables do not hold.
    """
    spans = find_spans(rectangle.keep, full=rectangle.full)

    def pick(values: Tensor | None) -> Tensor | None:
        return None if values is None else spans.pick(values)

    pieces, positions = pick(rectangle.pieces), pick(rectangle.positions)
    if positions is None and any(spans.starts):  # the first row is not at position 0
        positions = spans.pick(_columns(rectangle.keep))
    types = pick(rectangle.types) if config.type_vocab_size else None
    for name, values, size in (
        ("input_ids", pieces, config.vocab_size),
        ("token_type_ids", types, config.type_vocab_size),
    ):
        if values is not None:
            check_range(name, values, size)
    if positions is not None and config.position_biased_input:
        check_range("position_ids", positions, config.max_position_embeddings)
    extras = EncoderInputs(
        embeddings=pick(rectangle.embeddings), positions=positions, types=types, holes=spans.holes
    )
    return Packed(spans, pieces, extras)


def find_spans(keep: Tensor, *, full: bool) -> Spans:
    """The columns from the first to the last real piece of each sequence.

    Args:
        keep: (B, L) bool, true = a real piece.
        full: it is known that all are.

    Raises:
        DataError: sequences of length 0.
    """
    n_sequences, width = keep.shape
    if not width:
        raise DataError(f"input_ids: found shape {(n_sequences, 0)}, expected at least one column.")
    if full or bool(keep.all()):
        return Spans(keep, None, [0] * n_sequences, [width] * n_sequences, None)
    inside = (keep.cumsum(1) > 0) & (keep.flip(1).cumsum(1).flip(1) > 0)
    slots = inside.flatten().nonzero().squeeze(1)
    masked = ~keep.flatten()[slots]
    sizes = inside.sum(1).tolist()
    firsts = inside.int().argmax(1).tolist()
    return Spans(
        keep=keep,
        slots=slots,
        starts=[first if size else None for first, size in zip(firsts, sizes, strict=True)],
        lengths=[size for size in sizes if size],
        holes=masked if bool(masked.any()) else None,
    )


def _columns(keep: Tensor) -> Tensor:
    """(B, L) number of each column."""
    return torch.arange(keep.shape[1], device=keep.device).expand_as(keep)
