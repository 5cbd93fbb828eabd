"""What a caller may give the encoder beside, or instead of, piece ids."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import AlignmentError


@dataclass(frozen=True, eq=False)
class EncoderInputs:
    """One row per piece, in the order of the pieces; all optional.

    Attributes:
        embeddings: (N, embedding_size) rows in the place of those that the piece ids stand for.
        positions: (N,) absolute positions, where the config adds them to the input; distances
            between pieces are those of their places in the sequence all the same.
        types: (N,) segment ids; not looked at where type_vocab_size is 0.
        holes: (N,) bool, true = a masked piece: it has a place, but its rows are zeros and no
            piece attends to it.
    """

    embeddings: Tensor | None = None
    positions: Tensor | None = None
    types: Tensor | None = None
    holes: Tensor | None = None

    def arranged(self, order: Tensor, positions: Tensor) -> EncoderInputs:
        """The same for packed rows.

        Args:
            order: (P,) row of each packed row.
            positions: (P,) places, taken for positions where none are given.
        """
        return EncoderInputs(
            embeddings=None if self.embeddings is None else self.embeddings[order],
            positions=positions if self.positions is None else self.positions[order],
            types=None if self.types is None else self.types[order],
            holes=None if self.holes is None else self.holes[order],
        )

    def flattened(self, positions: Tensor, keep: Tensor) -> EncoderInputs:
        """The same for the slots of a rectangle, from (B, L) in the place of (N,) to (B * L,).

        Args:
            positions: (B * L,) columns, taken for positions where none are given.
            keep: (B, L) bool; where false, a slot is a hole.
        """
        return EncoderInputs(
            embeddings=None if self.embeddings is None else self.embeddings.flatten(0, 1),
            positions=positions if self.positions is None else self.positions.flatten(),
            types=None if self.types is None else self.types.flatten(),
            holes=~keep.flatten(),
        )


def check_inputs(pieces: Tensor | None, inputs: EncoderInputs, config: DebertaConfig) -> Tensor:
    """Check that every input has one row per piece, and ids that have a row in their table.

    Returns:
        Pieces or embeddings, whichever has the rows.

    Raises:
        AlignmentError: not exactly one of the two, a wrong shape, or an id without a row.
    """
    rows = inputs.embeddings if pieces is None else pieces
    if rows is None or (pieces is not None and inputs.embeddings is not None):
        number = "neither" if rows is None else "both"
        raise AlignmentError(
            f"found {number} of pieces and inputs.embeddings; expected exactly one of them."
        )
    n_rows = rows.shape[0]
    for name, tensor, width in (
        ("pieces", pieces, ()),
        ("inputs.embeddings", inputs.embeddings, (config.embedding_size,)),
        ("inputs.positions", inputs.positions, ()),
        ("inputs.types", inputs.types, ()),
        ("inputs.holes", inputs.holes, ()),
    ):
        if tensor is not None and tensor.shape != (n_rows, *width):
            found, wanted = tuple(tensor.shape), (n_rows, *width)
            raise AlignmentError(f"{name}: found shape {found}, expected {wanted}.")
    if inputs.holes is not None and inputs.holes.dtype != torch.bool:
        raise AlignmentError(f"inputs.holes: found {inputs.holes.dtype}, expected torch.bool.")
    if config.position_biased_input:
        _check_ids("positions", inputs.positions, config.max_position_embeddings)
    if config.type_vocab_size:
        _check_ids("types", inputs.types, config.type_vocab_size)
    return rows


def _check_ids(name: str, ids: Tensor | None, n_rows: int) -> None:
    if ids is None or not ids.numel():
        return
    low, high = (int(edge) for edge in ids.aminmax())
    if low < 0 or high >= n_rows:
        raise AlignmentError(
            f"inputs.{name}: found ids from {low} to {high}, expected 0 to {n_rows - 1}."
        )
