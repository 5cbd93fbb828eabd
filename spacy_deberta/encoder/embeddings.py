"""From piece ids to the encoder's input rows."""

from __future__ import annotations

from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.linear import Linear


class Embeddings(nn.Module):
    """Piece rows, plus absolute position rows where the config biases the input, normed.

    Token types are accepted by other implementations and, with the released configurations
    (type_vocab_size 0), have no row; with types, every piece here is of type 0.
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
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pieces: Tensor, positions: Tensor) -> Tensor:
        """Rows of real pieces.

        Args:
            pieces: (N,) ids.
            positions: (N,) place of each piece in its sequence.

        Returns:
            (N, hidden_size).
        """
        rows = self.pieces(pieces)
        if self.positions is not None:
            rows = rows + self.positions(positions)
        if self.types is not None:
            rows = rows + self.types.weight[0]
        return self.dropout(self.norm(self.projection(rows)))
