"""The model of `deberta_choice`: sequences of text and answer to one logit each."""

from collections.abc import Callable
from typing import Any

from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.thinc_layers.first_rows import first_rows
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
    rows, backprop_rows = first_rows(encoder, sequences, is_train)
    logits, backprop_head = head(rows, is_train) if sequences else (model.ops.alloc2f(0, 1), None)

    def backprop(d_logits: Floats2d) -> list[Any]:
        backprop_rows(backprop_head(d_logits) if backprop_head else rows)
        return []

    return logits, backprop


def init(model: SequencesToLogits, X: Any = None, Y: Any = None) -> None:
    """Ready the encoder, then the head, which needs its width."""
    encoder, head = model.layers
    encoder.initialize()
    head.set_dim("nI", encoder.get_dim("nO"), force=True)
    head.initialize()
