"""The model of `deberta_choice`: sequences of text and answer to one logit each."""

from collections.abc import Callable
from typing import Any

from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.thinc_layers.sequences import PieceSequence, SequencesToRows

SequencesToLogits = Model[list[PieceSequence], Floats2d]


def build_choice_model(
    tok2vec: SequencesToRows, head: Model[Floats2d, Floats2d]
) -> SequencesToLogits:
    """The model, registered as `spacy-deberta.ChoiceModel.v1`.

    Args:
        tok2vec: `spacy-deberta.SequenceListener.v1` or `spacy-deberta.SequenceModel.v1`; the name
            is the one that `nlp.replace_listeners` expects.
        head: `spacy-deberta.Head.v1` of kind "choice".
    """
    return Model("deberta-choice", forward, init=init, layers=[tok2vec, head])


def forward(
    model: SequencesToLogits, sequences: list[PieceSequence], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[Any]]]:
    """One logit of each sequence, (n_sequences, 1), from the row of its first piece."""
    encoder, head = model.layers
    xp = model.ops.xp
    states, backprop_encoder = encoder(sequences, is_train)
    if not sequences:
        return model.ops.alloc2f(0, 1), lambda d_logits: backprop_encoder([])
    logits, backprop_head = head(xp.stack([state[0] for state in states]), is_train)

    def backprop(d_logits: Floats2d) -> list[Any]:
        d_states = [xp.zeros_like(state) for state in states]
        for d_state, row in zip(d_states, backprop_head(d_logits), strict=True):
            d_state[0] = row
        backprop_encoder(d_states)
        return []

    return logits, backprop


def init(model: SequencesToLogits, X: Any = None, Y: Any = None) -> None:
    """Ready the encoder, then the head, which needs its width."""
    encoder, head = model.layers
    encoder.initialize()
    head.set_dim("nI", encoder.get_dim("nO"), force=True)
    head.initialize()
