"""The model of `deberta_fill_mask`: sequences with masks to logits over the vocabulary."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.errors import CheckpointError
from spacy_deberta.thinc_layers.heads import TiedRows, head_node, load_head
from spacy_deberta.thinc_layers.sequences import (
    PieceSequence,
    SequencesToRows,
    sequence_encoder,
)
from spacy_deberta.thinc_layers.types import Integers

if TYPE_CHECKING:
    from spacy_deberta.modeling import DebertaForMaskedLM, DebertaTokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MaskedSequence:
    """One input of the encoder, and what to predict in it.

    Attributes:
        sequence: the pieces to read.
        places: (m,) the pieces to predict.
    """

    sequence: PieceSequence
    places: Integers


MasksToLogits = Model[list[MaskedSequence], Floats2d]


def build_mask_filler(tok2vec: SequencesToRows, head: Model[Any, Floats2d]) -> MasksToLogits:
    """The model, registered as `spacy-deberta.MaskFiller.v1`.

    The head's output matrix is the encoder's piece table; both train it.

    Args:
        tok2vec: `spacy-deberta.SequenceListener.v1` or `spacy-deberta.SequenceModel.v1`; the name
            is the one that `nlp.replace_listeners` expects.
        head: `spacy-deberta.Head.v1` of kind "mlm".
    """
    return Model("deberta-mask-filler", forward, init=init, layers=[tok2vec, head])


def forward(
    model: MasksToLogits, masked: list[MaskedSequence], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[Any]]]:
    """Logits (M, vocab_size) of the pieces to predict, sequence after sequence."""
    encoder, head = model.layers
    xp = model.ops.xp
    states, backprop_encoder = encoder([one.sequence for one in masked], is_train)
    rows = [state[one.places] for state, one in zip(states, masked, strict=True)]
    found = model.ops.alloc2f(0, encoder.get_dim("nO")) if not rows else xp.concatenate(rows)
    logits, backprop_head = head(TiedRows(found, sequence_encoder(model)), is_train)

    def backprop(d_logits: Floats2d) -> list[Any]:
        d_rows = backprop_head(d_logits)  # before the encoder, whose step may follow at once
        d_states, start = [], 0
        for state, one in zip(states, masked, strict=True):
            d_state = xp.zeros_like(state)
            d_state[one.places] = d_rows[start : start + len(one.places)]
            d_states.append(d_state)
            start += len(one.places)
        backprop_encoder(d_states)
        return []

    return logits, backprop


def init(model: MasksToLogits, X: Any = None, Y: Any = None) -> None:
    """Ready the encoder, then the head, which needs its shape."""
    encoder, head = model.layers
    encoder.initialize()
    rows = model.ops.alloc2f(0, encoder.get_dim("nO"))
    head.initialize(X=TiedRows(rows, sequence_encoder(model)))


def load_tied_head(model: MasksToLogits, source: str | None) -> None:
    """Fill the head with a checkpoint's; a head that is there survives a source that is gone.

    Args:
        model: with an encoder that is loaded or can be.
        source: folder or name on the hub; None = the checkpoint that the encoder comes from.

    Raises:
        CheckpointError: there is no such head, or it is one for another encoder.
    """
    from spacy_deberta.checkpoints import resolve_source

    encoder, node = sequence_encoder(model), head_node(model)
    shim: Any = node.shims[0]
    try:
        folder = resolve_source(encoder.shim.source if source is None else source)
        found = load_head(model, folder)
    except CheckpointError as error:
        if not node.has_dim("nO"):
            raise
        logger.warning("The masked-LM head keeps the weights it has: %s", error)
        shim.keeps_weights = True
        return
    shape = (found.vocab_size, found.hidden_size)
    expected = (encoder.config.vocab_size, encoder.config.hidden_size)
    if shape != expected:
        raise CheckpointError(
            f"{folder}: has a head for (vocab_size, hidden_size) = {shape}, expected {expected}, "
            "the encoder's. Use a checkpoint of the same model."
        )


def masked_lm_of(model: MasksToLogits) -> tuple[DebertaForMaskedLM, DebertaTokenizer]:
    """Encoder and head, copied, as a checkpoint would be loaded; and their tokenizer."""
    from spacy_deberta import modeling
    from spacy_deberta.config import DebertaV2Config

    encoder: Any = sequence_encoder(model).shim
    head: Any = head_node(model).shims[0]
    family = "DebertaV2" if isinstance(encoder.encoder.config, DebertaV2Config) else "Deberta"
    decoder = "legacy" if head.form == "legacy_mlm" else "plain"
    found = getattr(modeling, f"{family}ForMaskedLM")(encoder.encoder.config, "auto", decoder)
    found.encoder.load_state_dict(encoder.encoder.state_dict())
    found.head.load_state_dict(head.module.state_dict())
    return found.eval(), getattr(modeling, f"{family}Tokenizer")(encoder.tokenizer)
