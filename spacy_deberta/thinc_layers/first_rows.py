"""The row of each sequence's first piece, [CLS], which classifiers read, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from thinc.types import Floats2d

from spacy_deberta.thinc_layers.sequences import PieceSequence, SequencesToRows

PREDICTED_PIECES = 16384  # whose rows are kept at once in prediction


def first_rows(
    encoder: SequencesToRows, sequences: list[PieceSequence], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], None]]:
    """The row of the first piece of each sequence.

    In prediction no more rows than those of PREDICTED_PIECES are in memory with them.

    Args:
        encoder: a SequenceListener or SequenceModel.
        sequences: none of them empty.
        is_train: whether a gradient will follow.

    Returns:
        (n_sequences, nO), or (0, 0), and what takes the gradient of these rows.
    """
    xp = encoder.ops.xp
    none = encoder.ops.alloc2f(0, 0)
    if not is_train:
        parts = (encoder.predict(part) for part in in_parts(sequences))
        firsts = [rows[0].copy() for part in parts for rows in part]
        return xp.stack(firsts) if firsts else none, _ignore
    states, backprop = encoder(sequences, is_train)

    def backprop_first(d_rows: Floats2d) -> None:
        d_states = [xp.zeros_like(state) for state in states]
        for d_state, row in zip(d_states, d_rows, strict=True):
            d_state[0] = row
        backprop(d_states)

    return xp.stack([state[0] for state in states]) if states else none, backprop_first


def in_parts(sequences: Iterable[PieceSequence]) -> Iterator[list[PieceSequence]]:
    """Sequences in order, up to PREDICTED_PIECES together."""
    part: list[PieceSequence] = []
    n_pieces = 0
    for sequence in sequences:
        if part and n_pieces + len(sequence.ids) > PREDICTED_PIECES:
            yield part
            part, n_pieces = [], 0
        part.append(sequence)
        n_pieces += len(sequence.ids)
    if part:
        yield part


def _ignore(gradient: Any) -> None:
    pass
