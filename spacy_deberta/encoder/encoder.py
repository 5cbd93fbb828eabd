"""DebertaEncoder: one module for every version of DeBERTa, over packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.embeddings import Embeddings
from spacy_deberta.encoder.layer import DebertaLayer
from spacy_deberta.encoder.packing import pack
from spacy_deberta.encoder.table import PositionTable
from spacy_deberta.errors import ConfigError


@dataclass(frozen=True, eq=False)
class EncoderOutput:
    """What the encoder gives for each real piece, in the caller's order.

    Attributes:
        last_hidden_state: (N, hidden_size), the last layer.
        hidden_states: (N, hidden_size) each: the embeddings, then every layer; None unless asked.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class DebertaEncoder(nn.Module):
    """Disentangled-attention encoder.

    Args:
        config: the shape.
        attention: name of an attention path (`paths.PATHS`) or "auto".
    """

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.table = PositionTable(config) if config.relative_attention else None
        self.layers = nn.ModuleList(
            DebertaLayer(config, attention) for _ in range(config.num_hidden_layers)
        )
        self.apply(self._initialize)

    def forward(
        self, pieces: Tensor, lengths: Sequence[int], *, hidden_states: bool = False
    ) -> EncoderOutput:
        """Encode sequences given as their concatenation; no sequence sees another.

        Args:
            pieces: (N,) ids of real pieces, special pieces included.
            lengths: pieces of each sequence, each at least 1, adding up to N.
            hidden_states: also return every layer's output.

        Raises:
            ConfigError: a sequence is longer than the table of absolute positions in use.
        """
        packing = pack(lengths, pieces.shape[0], pieces.device)
        self._check_length(packing.longest)
        hidden = self.embeddings(pieces[packing.order], packing.positions)
        states = [hidden]
        table = self.table(packing.longest) if self.table is not None and packing.longest else None
        for layer in self.layers:
            hidden = layer(hidden, table, packing) if packing.longest else hidden
            if hidden_states:
                states.append(hidden)
        return EncoderOutput(
            last_hidden_state=hidden[packing.inverse],
            hidden_states=tuple(s[packing.inverse] for s in states) if hidden_states else None,
        )

    def _check_length(self, longest: int) -> None:
        config = self.config
        if config.position_biased_input and longest > config.max_position_embeddings:
            raise ConfigError(
                f"a sequence has {longest} pieces, but this encoder adds absolute positions and "
                f"knows max_position_embeddings={config.max_position_embeddings} of them; "
                "cut the text into windows of at most that many pieces."
            )

    def _initialize(self, module: nn.Module) -> None:
        """Weights N(0, initializer_range), biases 0, padding row 0, norms 1 and 0."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
