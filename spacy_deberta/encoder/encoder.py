"""DebertaEncoder: one module for every version of DeBERTa, over packed batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.convolution import Convolution
from spacy_deberta.encoder.embeddings import Embeddings
from spacy_deberta.encoder.inputs import EncoderInputs, check_inputs
from spacy_deberta.encoder.layer import DebertaLayer
from spacy_deberta.encoder.memory import keep_freed_memory
from spacy_deberta.encoder.packing import Packing, pack, pack_rectangle
from spacy_deberta.encoder.paths import choose_path
from spacy_deberta.encoder.table import PositionTable, TableRows
from spacy_deberta.errors import ConfigError


@dataclass(frozen=True, eq=False)
class EncoderOutput:
    """What the encoder gives for each piece, in the caller's order; zeros for holes.

    Attributes:
        last_hidden_state: (N, hidden_size), the last layer.
        hidden_states: (N, hidden_size) each: the embeddings, then every layer; None unless asked.
        attentions: for every layer and every sequence (H, L, L): how much each piece (query) takes
            from each, before dropout; None unless asked.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[tuple[Tensor, ...], ...] | None = None


@dataclass(frozen=True, eq=False)
class RectangleOutput:
    """What the encoder gives for a padded rectangle; zeros where no real piece is.

    Attributes:
        last_hidden_state: (B, L, hidden_size), the last layer.
        hidden_states: (B, L, hidden_size) each: the embeddings, then every layer; None unless
            asked.
        attentions: (B, H, L, L) of every layer, by query and key, before dropout; None unless
            asked.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DebertaEncoder(nn.Module):
    """Disentangled-attention encoder.

    Args:
        config: the shape.
        attention: name of an attention path (`paths.PATHS`) or "auto".

    Attributes:
        gradient_checkpointing: in training, keep no layer's inner results but compute them again
            in the backward pass: less memory, more time.
    """

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.gradient_checkpointing = False
        self.embeddings = Embeddings(config)
        self.table = PositionTable(config) if config.relative_attention else None
        self.layers = nn.ModuleList(
            DebertaLayer(config, attention) for _ in range(config.num_hidden_layers)
        )
        self.convolution = Convolution(config) if config.has_convolution else None
        self.apply(self._initialize)

    def forward(
        self,
        pieces: Tensor | None,
        lengths: Sequence[int],
        *,
        inputs: EncoderInputs | None = None,
        hidden_states: bool = False,
        attentions: bool = False,
    ) -> EncoderOutput:
        """Encode sequences given as their concatenation; no sequence sees another.

        Args:
            pieces: (N,) ids of pieces, special pieces included; None with inputs.embeddings.
            lengths: pieces of each sequence, each at least 1, adding up to N.
            inputs: what else is known of the pieces.
            hidden_states: also return every layer's output.
            attentions: also return every layer's attention probabilities.

        Raises:
            ConfigError: a sequence is longer than the table of absolute positions in use.
            AlignmentError: lengths or inputs that do not fit the pieces.
            PathError: attentions are asked of a path that does not form them.
        """
        if attentions:
            choose_path(self.attention, needs_probabilities=True)
        inputs = inputs or EncoderInputs()
        embedded, packing = self._embed(pieces, lengths, inputs)
        table = self.table(packing.longest) if self.table is not None and packing.longest else None
        states, squares = [embedded], []
        for hidden, weights in self._run(embedded, table, packing, probabilities=attentions):
            states = [*states, hidden] if hidden_states else [hidden]
            if attentions:
                squares.append(packing.squares(weights, lengths, inputs.holes))
        restored = tuple(packing.restored(rows, inputs.holes) for rows in states)
        return EncoderOutput(
            last_hidden_state=restored[-1],
            hidden_states=restored if hidden_states else None,
            attentions=tuple(squares) if attentions else None,
        )

    def rectangle(
        self,
        pieces: Tensor | None,
        keep: Tensor,
        *,
        inputs: EncoderInputs | None = None,
        hidden_states: bool = False,
        attentions: bool = False,
    ) -> RectangleOutput:
        """Encode a padded rectangle as a whole.

        Slower than `forward`, but the same operations for every batch, by the plain formula:
        `torch.export` can trace them once.

        Args:
            pieces: (B, L) ids, of any piece where padded; None with inputs.embeddings.
            keep: (B, L) bool, true = a real piece; sequences may begin, end or break anywhere.
            inputs: as for `forward`, with (B, L) in the place of (N,). Nothing is checked here.
            hidden_states: also return every layer's output.
            attentions: also return every layer's attention probabilities.
        """
        packing = pack_rectangle(keep)
        slots = (inputs or EncoderInputs()).flattened(packing.positions, keep)
        embedded = self.embeddings(None if pieces is None else pieces.flatten(), slots)
        table = None if self.table is None else self.table.every_row(keep.shape[1])
        states, squares = [embedded], []
        for hidden, (weights,) in self._run(embedded, table, packing, probabilities=True):
            states.append(hidden)
            squares.append(weights)
        blank = ~keep[..., None]
        rectangles = [rows.unflatten(0, keep.shape).masked_fill(blank, 0.0) for rows in states]
        return RectangleOutput(
            last_hidden_state=rectangles[-1],
            hidden_states=tuple(rectangles) if hidden_states else None,
            attentions=(
                tuple(weights.masked_fill(blank[:, None], 0.0) for weights in squares)
                if attentions
                else None
            ),
        )

    def resize_pieces(self, n_pieces: int) -> None:
        """Give the vocabulary another size: rows are cut off at the end, or drawn at random.

        The table is a new parameter: make optimizers afterwards.

        Raises:
            ConfigError: no size, or one without the padding piece.
        """
        config = replace(self.config, vocab_size=n_pieces)
        old = self.embeddings.pieces
        grown = nn.Embedding.from_pretrained(
            old.weight.new_empty(n_pieces, old.embedding_dim).normal_(std=config.initializer_range),
            freeze=not old.weight.requires_grad,
            padding_idx=old.padding_idx,
        )
        kept = min(n_pieces, old.num_embeddings)
        with torch.no_grad():
            grown.weight[:kept] = old.weight[:kept]
        self.embeddings.pieces = grown
        self.config = config

    def _embed(
        self, pieces: Tensor | None, lengths: Sequence[int], inputs: EncoderInputs
    ) -> tuple[Tensor, Packing]:
        """Packed rows of the embeddings, and how they are packed."""
        rows = check_inputs(pieces, inputs, self.config)
        if rows.device.type == "cpu" and not torch.compiler.is_compiling():
            keep_freed_memory()
        packing = pack(lengths, rows.shape[0], rows.device)
        if inputs.positions is None:
            self._check_length(packing.longest)
        arranged = inputs.arranged(packing.order, packing.positions)
        hidden = self.embeddings(None if pieces is None else pieces[packing.order], arranged)
        if arranged.holes is not None:
            packing = packing.with_holes(arranged.holes)
        return hidden, packing

    def _run(
        self, hidden: Tensor, table: TableRows | None, packing: Packing, *, probabilities: bool
    ) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
        """Output of each layer in turn, and the attention probabilities of each group."""
        embedded = hidden
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for number, layer in enumerate(self.layers):
            weights: tuple[Tensor, ...] = ()
            if recompute and packing.groups:
                hidden, weights = checkpoint(
                    layer, hidden, table, packing, probabilities=probabilities, use_reentrant=False
                )
            elif packing.groups:
                hidden, weights = layer(hidden, table, packing, probabilities=probabilities)
            if number == 0 and self.convolution is not None:
                hidden = self.convolution(embedded, hidden, packing)
            yield hidden, weights

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
