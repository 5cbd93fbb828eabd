"""From piece ids to the encoder's input rows."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.dropout import Dropout
from spacy_deberta.encoder.inputs import EncoderInputs
from spacy_deberta.encoder.linear import Linear


class Embeddings(nn.Module):
    """Piece rows, plus rows of absolute positions and of segments where configured, normed.

    With the released configurations segments have no rows; where they do, a piece is of type 0
    unless its type is given.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        width = config.embedding_size
        self.pieces = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.positions = (
            nn.Embedding(config.max_position_embeddings, width)
            if config.position_biased_input
            else None
        )
        self.types = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.projection = (
            Linear(width, config.hidden_size, bias=False)
            if width != config.hidden_size
            else nn.Identity()
        )
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, pieces: Tensor | None, inputs: EncoderInputs) -> Tensor:
        """Rows of real pieces.

        Args:
            pieces: (...) ids; None where the inputs hold embeddings.
            inputs: of the same leading shape; its positions must be there where they have rows.

        Returns:
            (..., hidden_size), zeros in holes.
        """
        rows = cast(Tensor, inputs.embeddings) if pieces is None else self.pieces(pieces)
        if self.positions is not None:
            rows = rows + self.positions(inputs.positions)
        if self.types is not None:
            rows = rows + (
                self.types.weight[0] if inputs.types is None else self.types(inputs.types)
            )
        rows = self.norm(self.projection(rows))
        if inputs.holes is not None:
            rows = rows.masked_fill(inputs.holes[..., None], 0.0)
        return self.dropout(rows)
