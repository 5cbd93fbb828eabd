"""Joint encoding: sequences of pieces that a component makes itself, such as pairs and windows.

    SequenceListener   runs the encoder of a `deberta` component, and trains it too
    SequenceModel      runs an encoder of its own

A listener's sequences are not the Docs that its encoder reads, so it runs the encoder again, with
the weights of the open step, and its backward collects gradients in the encoder's parameters.
`backward.py` counts these with the others of the step. A component calls `begin_update` once in an
update, and its backprop before the update ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, cast

import numpy as np
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from spacy_deberta.alignment import pack_windows
from spacy_deberta.errors import AlignmentError, ConfigError, PipelineError
from spacy_deberta.thinc_layers.compute import Compute
from spacy_deberta.thinc_layers.listeners import ANY, ListenerState, init, listener_state
from spacy_deberta.thinc_layers.shim import DebertaShim
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.thinc_layers.types import Integers

if TYPE_CHECKING:
    from spacy_deberta.config import DebertaConfig
    from spacy_deberta.encoder import DebertaEncoder
    from spacy_deberta.tokenizers import Tokenizer

LISTENER_NAME = "deberta-sequence-listener"
MODEL_NAME = "deberta-sequences"


@dataclass(frozen=True, eq=False)
class PieceSequence:
    """One input of the encoder.

    Attributes:
        ids: (n,) pieces, special pieces included.
        types: (n,) segment ids; None = all 0.
    """

    ids: Integers
    types: Integers | None = None


SequencesToRows = Model[list[PieceSequence], list[Floats2d]]
Backprop = Callable[[list[Floats2d]], list[Any]]


@dataclass(frozen=True, eq=False)
class SequenceEncoder:
    """What a component needs of the encoder to make sequences and to read rows.

    Attributes:
        shim: encoder and tokenizer.
        grad_factor: factor on the gradient that the encoder takes now; 0 = it is not trained now.
    """

    shim: DebertaShim
    grad_factor: float

    @property
    def tokenizer(self) -> Tokenizer:
        """The encoder's tokenizer."""
        return self.shim.tokenizer

    @property
    def config(self) -> DebertaConfig:
        """The encoder's shape."""
        return self.shim.encoder.config

    @property
    def max_length(self) -> int | None:
        """Most pieces in a sequence, special pieces included; None = any number."""
        config = self.config
        return config.max_position_embeddings if config.position_biased_input else None

    def piece_table(self) -> Tensor:
        """The encoder's piece embeddings (vocab_size, embedding_size), for tied heads.

        While the encoder is being trained, a gradient of the table is one of the encoder's.
        """
        table: Tensor = self.shim.encoder.embeddings.pieces.weight
        if self.grad_factor == 0 or not table.requires_grad or not torch.is_grad_enabled():
            return table.detach()
        counted = table.view_as(table)  # a hook on the parameter itself would stay there
        counted.register_hook(lambda gradient: self.shim.scaled(gradient * self.grad_factor))
        return counted


def build_sequence_listener(upstream: str = ANY, grad_factor: float = 1.0) -> SequencesToRows:
    """A listener, registered as `spacy-deberta.SequenceListener.v1`.

    Args:
        upstream: name of the encoder component; "*" = the nearest one before.
        grad_factor: factor on the gradient that goes to the encoder; 0 = none of it.

    Raises:
        ConfigError: a negative factor.
    """
    if grad_factor < 0:
        raise ConfigError(f"grad_factor={grad_factor} is negative; expected 0 or more.")
    return Model(
        LISTENER_NAME,
        forward_listener,
        init=init,
        dims={"nO": None},
        attrs={"listener": ListenerState(upstream, float(grad_factor))},
    )


def build_sequence_model(
    source: Optional[str] = None,  # noqa: UP045  (as in every registered function of spaCy)
    batch_pieces: int = 8192,
    precision: str = "fp32",
    device: str = "auto",
    gradient_checkpointing: bool = False,
) -> SequencesToRows:
    """An encoder of the component's own, registered as `spacy-deberta.SequenceModel.v1`.

    Args:
        source: checkpoint folder; null = the embedded model. A saved pipeline does not need it.
        batch_pieces: most pieces that go through the encoder at once. Memory, not results.
        precision: of the encoder's products: fp32, bf16, or fp16 (CUDA only).
        device: "auto" = where thinc computes; or a device such as "cuda:1", without cupy, too.
        gradient_checkpointing: in training, less memory for more time.

    Raises:
        ConfigError: unknown precision or device, or a budget that holds nothing.
    """
    compute = Compute(precision, device, gradient_checkpointing)
    return sequence_model_of(DebertaShim(source, "mean", compute), batch_pieces)


def sequence_model_of(shim: DebertaShim, batch_pieces: int) -> SequencesToRows:
    """The same around an encoder that is there, such as the copy of a component's."""
    if batch_pieces < 1:
        raise ConfigError(f"batch_pieces={batch_pieces} holds no piece; use 1 or more.")
    model: SequencesToRows = Model(
        MODEL_NAME,
        forward_model,
        init=init_model,
        dims={"nO": None},
        attrs={"batch_pieces": batch_pieces},
        shims=[shim],
    )
    if shim.is_loaded:
        _set_width(model, shim)
    return model


def hears_sequences(node: Model[Any, Any]) -> bool:
    """Whether a layer is a SequenceListener: it needs no rows of the Docs."""
    return node.name == LISTENER_NAME and listener_state(node) is not None


def sequence_encoder(model: Model[Any, Any], docs: Sequence[Doc] = ()) -> SequenceEncoder:
    """The encoder behind the SequenceListener or SequenceModel inside a component's model.

    Ask anew in every update and every prediction: what it knows is true until the next step.

    Args:
        model: the component's.
        docs: what is to be read, which tells in which pipeline the component is at work; without
            any, it is the one of the last time.

    Raises:
        PipelineError: there is no such layer, or no encoder to listen to.
    """
    for node in model.walk():
        state = listener_state(node)
        if state is not None and node.name == LISTENER_NAME:
            state.turn_to(docs)
            source = state.require_source()
            shim = shim_of(source.model)
            return SequenceEncoder(shim, state.grad_factor if source.waits_for(node) else 0.0)
        if node.name == MODEL_NAME:
            return SequenceEncoder(_own_shim(node), 1.0)
    raise PipelineError(
        f"the model '{model.name}' has no layer that encodes sequences; give it the architecture "
        "spacy-deberta.SequenceListener.v1 or spacy-deberta.SequenceModel.v1."
    )


def forward_listener(
    model: SequencesToRows, sequences: list[PieceSequence], is_train: bool
) -> tuple[list[Floats2d], Backprop]:
    """Rows (n_pieces, nO) of each sequence, from the encoder listened to."""
    state: ListenerState = model.attrs["listener"]
    source = state.require_source()
    shim, budget = shim_of(source.model), source.model.attrs["settings"].batch_pieces
    report = source.lend(model) if is_train else None
    if report is None:
        return _predict(model, shim, sequences, budget), _no_gradient
    run = _Run(model, shim, sequences, budget)

    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        report(lambda: run.backward(d_rows, state.grad_factor))
        return []

    return run.rows, backprop


def forward_model(
    model: SequencesToRows, sequences: list[PieceSequence], is_train: bool
) -> tuple[list[Floats2d], Backprop]:
    """Rows (n_pieces, nO) of each sequence, from the model's own encoder."""
    shim, budget = _own_shim(model), model.attrs["batch_pieces"]
    if not is_train:
        return _predict(model, shim, sequences, budget), _no_gradient
    run = _Run(model, shim, sequences, budget)

    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        run.backward(d_rows, 1.0)
        return []

    return run.rows, backprop


def init_model(model: SequencesToRows, X: Any = None, Y: Any = None) -> None:
    """Go back to the weights of the source; learn the width."""
    shim = shim_of(model)
    shim.load_source()
    _set_width(model, shim)


class _Run:
    """One pass of sequences through an encoder in training mode, kept for its backward.

    Attributes:
        rows: (n_pieces, width) float32 of each sequence.
    """

    def __init__(
        self,
        model: SequencesToRows,
        shim: DebertaShim,
        sequences: Sequence[PieceSequence],
        budget: int,
    ) -> None:
        self._model, self._shim = model, shim
        self._packs = _pack(sequences, budget)
        encoder, autocast = shim.for_training()
        with autocast:
            self._states = [_encode(encoder, sequences, pack) for pack in self._packs]
        found = [state.detach() for state in self._states]
        self.rows = _split(model, encoder, sequences, zip(self._packs, found, strict=True))

    def backward(self, d_rows: Sequence[Floats2d], factor: float) -> float:
        """Add the gradient to those of the encoder's parameters.

        Returns:
            Squared norm of what was sent.
        """
        if factor == 0 or not self._states:
            return 0.0
        gradients = []
        for pack, state in zip(self._packs, self._states, strict=True):
            flat = self._model.ops.xp.concatenate([d_rows[number] for number in pack])
            gradients.append(xp2torch(flat, device=state.device) * factor)
        if self._states[0].requires_grad:  # all of them do, or none
            scaled = [self._shim.scaled(gradient) for gradient in gradients]
            torch.autograd.backward(self._states, scaled)
        return sum(float(gradient.square().sum()) for gradient in gradients)


def _predict(
    model: SequencesToRows, shim: DebertaShim, sequences: Sequence[PieceSequence], budget: int
) -> list[Floats2d]:
    encoder = shim.for_prediction()
    packs = _pack(sequences, budget)
    with torch.no_grad():
        found = ((pack, _encode(encoder, sequences, pack)) for pack in packs)
        return _split(model, encoder, sequences, found)


def _pack(sequences: Sequence[PieceSequence], budget: int) -> list[Integers]:
    """Numbers of the sequences that go through the encoder together; empty ones never do."""
    lengths = np.array([len(sequence.ids) for sequence in sequences], dtype=np.int64)
    filled = np.flatnonzero(lengths)
    return [filled[pack] for pack in pack_windows(lengths[filled], budget)]


def _encode(encoder: DebertaEncoder, sequences: Sequence[PieceSequence], pack: Integers) -> Tensor:
    """Rows (n, width) float32 of the pieces of a pack, sequence after sequence."""
    from spacy_deberta.encoder import EncoderInputs

    chosen = [sequences[number] for number in pack]
    device = encoder.embeddings.pieces.weight.device
    inputs = None
    if encoder.config.type_vocab_size and any(one.types is not None for one in chosen):
        inputs = EncoderInputs(types=_to_torch([_types(one) for one in chosen], device))
    ids = _to_torch([one.ids for one in chosen], device)
    states: Tensor = encoder(ids, [len(one.ids) for one in chosen], inputs=inputs).last_hidden_state
    return states.float()


def _types(sequence: PieceSequence) -> Integers:
    if sequence.types is None:
        return np.zeros(len(sequence.ids), dtype=np.int64)
    if len(sequence.types) != len(sequence.ids):
        raise AlignmentError(
            f"a sequence of {len(sequence.ids)} pieces has {len(sequence.types)} types; "
            "expected one for each piece."
        )
    return sequence.types


def _to_torch(arrays: Sequence[Integers], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(np.int64, copy=False)).to(device)


def _split(
    model: SequencesToRows,
    encoder: DebertaEncoder,
    sequences: Sequence[PieceSequence],
    found: Iterator[tuple[Integers, Tensor]],
) -> list[Floats2d]:
    """Rows of packs to rows of each sequence, in order."""
    rows = [model.ops.alloc2f(0, encoder.config.hidden_size)] * len(sequences)
    for pack, states in found:
        flat = cast(Floats2d, torch2xp(states, ops=model.ops))
        start = 0
        for number in pack.tolist():
            end = start + len(sequences[number].ids)
            rows[number] = flat[start:end]
            start = end
    return rows


def _own_shim(model: SequencesToRows) -> DebertaShim:
    shim = shim_of(model)
    _set_width(model, shim)
    return shim


def _set_width(model: SequencesToRows, shim: DebertaShim) -> None:
    model.set_dim("nO", shim.encoder.config.hidden_size, force=True)


def _no_gradient(d_rows: list[Floats2d]) -> list[Any]:
    return []
