"""Start and end logits for sequences of a question and a context."""

from typing import Any, cast

from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from spacy_deberta.thinc_layers.heads import build_head
from spacy_deberta.thinc_layers.sequences import PieceSequence

AnswerModel = Model[list[PieceSequence], list[Floats2d]]


def build_answer_model(tok2vec: AnswerModel, dropout: float = 0.1) -> AnswerModel:
    """The model of `deberta_qa`, registered as `spacy-deberta.AnswerSpans.v1`.

    Args:
        tok2vec: encodes the sequences: spacy-deberta.SequenceListener.v1 or
            spacy-deberta.SequenceModel.v1; the name is the one that `nlp.replace_listeners`
            expects.
        dropout: share of the encoder's rows that the head drops in training.

    Returns:
        A layer from sequences to (n_pieces, 2) logits of each: start, end.
    """
    head = cast(Model[Any, Any], build_head("span", dropout=dropout))
    return chain(tok2vec, with_array(head))
