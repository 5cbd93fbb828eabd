"""Docs to logits of labels: texts, and pairs of texts, read jointly by the encoder.

    Doc ──tokenizer──> pieces ──lay_text──> rows ──encoder──> row of [CLS] ──head──> logits
                                                                windows ──merge──> logits of the Doc

The second text of a pair is `doc._.pair`. The head is the one of DebertaForSequenceClassification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from spacy.tokens import Doc
from thinc.api import Model, get_array_module
from thinc.types import Floats2d

from spacy_deberta.alignment import Frame, LaidText, lay_text, split_windows
from spacy_deberta.errors import DataError
from spacy_deberta.thinc_layers.first_rows import first_rows
from spacy_deberta.thinc_layers.sequences import PieceSequence, SequencesToRows, sequence_encoder

PAIR = "pair"  # doc._.pair

DocsToLogits = Model[list[Doc], Floats2d]


@dataclass(frozen=True)
class Reading:
    """How long texts are read.

    Attributes:
        window: most pieces of a row, special ones included.
        stride: pieces from one window's start to the next.
    """

    window: int
    stride: int


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a batch.

    Attributes:
        sequences: S of them, Doc after Doc.
        shares: (D, S) how much of each row's logits a Doc's are made of; adding up to 1 per Doc.
    """

    sequences: list[PieceSequence]
    shares: npt.NDArray[np.float32]


def build_text_classifier(
    tok2vec: SequencesToRows, head: Model[Floats2d, Floats2d], window: int = 512, stride: int = 384
) -> DocsToLogits:
    """A classifier of texts and pairs, registered as `spacy-deberta.TextClassifier.v1`.

    The component sets `attrs["merge"]`: "mean" over windows, weighted by the pieces that each is
    the first to show, or "max".

    Args:
        tok2vec: `spacy-deberta.SequenceListener.v1` or `spacy-deberta.SequenceModel.v1`; the name
            is the one that `nlp.replace_listeners` expects.
        head: `spacy-deberta.Head.v1` of kind "sequence".
        window: pieces per window, special ones included; longer texts are cut.
        stride: pieces from the start of one window to the start of the next.

    Raises:
        AlignmentError: window and stride do not fit together.
    """
    split_windows(0, window=window, stride=stride)
    return Model(
        "deberta-text-classifier",
        forward,
        init=init,
        dims={"nO": None},
        layers=[tok2vec, head],
        attrs={"reading": Reading(window, stride), "merge": "mean"},
    )


def forward(
    model: DocsToLogits, docs: Sequence[Doc], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[Any]]]:
    """Logits (n_docs, nO)."""
    encoder, head = model.layers
    xp = model.ops.xp
    laid = _lay(model, docs)
    rows, backprop_rows = first_rows(encoder, laid.sequences, is_train)
    logits, backprop_head = head(rows, is_train)
    shares = xp.asarray(laid.shares)
    best = _best_rows(logits, shares) if model.attrs["merge"] == "max" else None
    labels = xp.arange(logits.shape[1])

    def backprop(d_logits: Floats2d) -> list[Any]:
        d_rows = shares.T @ d_logits
        if best is not None:
            d_rows = xp.zeros_like(logits)
            d_rows[best, labels] = d_logits  # no two Docs have a row in common
        backprop_rows(backprop_head(d_rows))
        return []

    return shares @ logits if best is None else logits[best, labels], backprop


def init(model: DocsToLogits, X: Any = None, Y: Any = None) -> None:
    """Ready the encoder, then the head, which needs its width."""
    encoder, head = model.layers
    encoder.initialize()
    if model.has_dim("nO"):
        head.set_dim("nO", model.get_dim("nO"), force=True)
    head.set_dim("nI", encoder.get_dim("nO"), force=True)
    head.initialize()


def text_pair(doc: Doc) -> str | None:
    """The second text of a pair; None for a single text.

    Raises:
        DataError: something else than a text.
    """
    pair = doc._.get(PAIR) if Doc.has_extension(PAIR) else None
    if pair is not None and not isinstance(pair, str):
        raise DataError(
            f"doc._.pair: found {pair!r:.40}, expected a text, or None for a text alone."
        )
    return pair


def _lay(model: DocsToLogits, docs: Sequence[Doc]) -> _Rows:
    encoder = sequence_encoder(model, docs)
    reading: Reading = model.attrs["reading"]
    window = min(reading.window, encoder.max_length or reading.window)
    tokenizer = encoder.tokenizer
    frame = Frame(tokenizer.cls_id, tokenizer.sep_id, window, reading.stride)
    pairs = [text_pair(doc) for doc in docs]
    firsts = tokenizer.encode_batch([doc.text for doc in docs])
    seconds = iter(tokenizer.encode_batch([pair for pair in pairs if pair is not None]))
    laid = [
        lay_text(first.ids, None if pair is None else next(seconds).ids, frame)
        for first, pair in zip(firsts, pairs, strict=True)
    ]
    return _join(laid)


def _join(laid: Sequence[LaidText]) -> _Rows:
    rows = [row for text in laid for row in text.rows]
    shares = np.zeros((len(laid), len(rows)), dtype=np.float32)
    start = 0
    for number, text in enumerate(laid):
        weights = np.array([row.weight for row in text.rows], dtype=np.float32)
        shares[number, start : start + len(weights)] = weights / weights.sum()
        start += len(weights)
    sequences = [
        PieceSequence(np.array(row.ids, dtype=np.int64), np.array(row.types, dtype=np.int64))
        for row in rows
    ]
    return _Rows(sequences, shares)


def _best_rows(logits: Any, shares: Any) -> Any:
    """(D, n_labels): which of a Doc's rows has the highest logit of a label."""
    xp = get_array_module(logits)
    best = xp.empty((len(shares), logits.shape[1]), dtype="int64")
    for number, weights in enumerate(shares):
        own = xp.flatnonzero(weights)
        best[number] = own[logits[own].argmax(axis=0)]
    return best
