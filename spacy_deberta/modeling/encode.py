"""One encoder, two ways to run it: packed rows, or the whole rectangle for `torch.export`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spacy_deberta.encoder import DebertaEncoder, EncoderInputs
from spacy_deberta.modeling.inputs import Rectangle
from spacy_deberta.modeling.packed import Packed, pack_rectangle


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows of the encoder, and the way back to the rectangle.

    Attributes:
        rectangle: what was encoded.
        packed: how its rows were packed; None = they are the rectangle (B, L, hidden_size).
        states: (N, hidden_size) each: the embeddings and every layer, or the last layer alone.
        attentions: one (B, A, L, L) per layer, zeros in padding; None unless asked for.
    """

    rectangle: Rectangle
    packed: Packed | None
    states: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...] | None

    def spread(self, rows: Tensor) -> Tensor:
        """Rows as the encoder gives them to (B, L, hidden_size), zeros in padding."""
        return rows if self.packed is None else self.packed.spans.spread(rows)

    def last(self) -> Tensor:
        """(B, L, hidden_size), zeros in padding."""
        return self.spread(self.states[-1])

    def hidden_states(self, *, asked: bool) -> tuple[Tensor, ...] | None:
        """(B, L, hidden_size) each, zeros in padding; None unless asked for."""
        return tuple(self.spread(state) for state in self.states) if asked else None

    def first(self, hidden: Tensor) -> Tensor:
        """Row of the first real piece of each sequence, zeros where there is none.

        Args:
            hidden: (B, L, hidden_size).

        Returns:
            (B, 1, hidden_size).
        """
        column = self.rectangle.keep.int().argmax(1)
        return hidden.gather(1, column[:, None, None].expand(-1, 1, hidden.shape[-1]))


def encode(
    encoder: DebertaEncoder, rectangle: Rectangle, *, hidden_states: bool, attentions: bool
) -> Encoded:
    """Run the encoder over a batch.

    While `torch.export` or `torch.compile` records, nothing depends on what the tensors hold: the
    rectangle is encoded as a whole, padding included.

    Args:
        encoder: to run.
        rectangle: the batch.
        hidden_states: keep every layer's output.
        attentions: keep every layer's attention probabilities.

    Raises:
        DataError: ids, types or positions that the encoder's tables do not hold.
        ConfigError: more pieces than absolute positions.
        PathError: attentions are asked of a path that does not form them.
    """
    if torch.compiler.is_compiling():
        return _encode_whole(encoder, rectangle, hidden_states=hidden_states, attentions=attentions)
    packed = pack_rectangle(rectangle, encoder.config)
    output = encoder(
        packed.pieces,
        packed.spans.lengths,
        inputs=packed.extras,
        hidden_states=hidden_states,
        attentions=attentions,
    )
    n_heads = encoder.config.num_attention_heads
    squares = [packed.spans.spread_squares(layer, n_heads) for layer in output.attentions or ()]
    return Encoded(
        rectangle=rectangle,
        packed=packed,
        states=output.hidden_states or (output.last_hidden_state,),
        attentions=tuple(squares) if attentions else None,
    )


def _encode_whole(
    encoder: DebertaEncoder, rectangle: Rectangle, *, hidden_states: bool, attentions: bool
) -> Encoded:
    output = encoder.rectangle(
        rectangle.pieces,
        rectangle.keep,
        inputs=EncoderInputs(
            embeddings=rectangle.embeddings, positions=rectangle.positions, types=rectangle.types
        ),
        hidden_states=hidden_states,
        attentions=attentions,
    )
    states = output.hidden_states or (output.last_hidden_state,)
    return Encoded(rectangle, None, states, output.attentions)
