"""What passes from one stage to the next; inputs are never mutated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d, Floats3d, Floats4d

from spacy_deberta.alignment import TokenAlignment

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Pieces

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncoderSettings:
    """How Docs become token rows.

    Attributes:
        window: pieces per window, [CLS] and [SEP] included.
        stride: pieces from the start of one window to the start of the next.
        pooling: name of the way from piece rows to token rows.
        batch_pieces: most pieces that go through the encoder at once.
    """

    window: int
    stride: int
    pooling: str
    batch_pieces: int


@dataclass(frozen=True, eq=False)
class DocPieces:
    """One Doc after tokenization: its pieces, and the pieces of each token."""

    pieces: Pieces
    alignment: TokenAlignment


@dataclass(frozen=True, eq=False)
class EncoderBatch:
    """The windows of several Docs, packed.

    Attributes:
        ids: (N,) pieces of all windows, special pieces included, micro-batch by micro-batch.
        lengths: (W,) pieces of each window, adding up to N.
        n_windows: windows of each micro-batch, adding up to W.
        index: (M,) the encoder rows, numbers below N, of each token, token after token.
        rows_per_token: (T,) how many of them each token has, adding up to M.
        n_tokens: tokens of each Doc, adding up to T.
    """

    ids: Integers
    lengths: Integers
    n_windows: tuple[int, ...]
    index: Integers
    rows_per_token: Integers
    n_tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """The windows of an EncoderBatch that go through the encoder together.

    Attributes:
        ids: (n,) pieces of these windows.
        lengths: (w,) pieces of each window, adding up to n.
        tokens: (t,) the tokens with pieces here, ascending.
        index: (m,) the encoder rows, numbers below n, of each of them, token after token.
        rows_per_token: (t,) how many of them each has here, adding up to m.
        split: the tokens that have others elsewhere, and the index of those they have here.
    """

    ids: Integers
    lengths: Integers
    tokens: Integers
    index: Integers
    rows_per_token: Integers
    split: dict[int, Integers]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of an encoder in prediction, beside the rows of its last layer.

    Attributes:
        layers: other layers whose rows are wanted, ascending; 0 = the embeddings.
        attentions: whether attention probabilities are.
    """

    layers: tuple[int, ...] = ()
    attentions: bool = False


@dataclass(frozen=True, eq=False)
class EncodedDoc:
    """What the encoder gives for a Doc in prediction, all in memory of its own.

    Attributes:
        pieces: the Doc's.
        rows: (n_tokens, width) float32, the last layer.
        layers: other layers that are there; 0 = the embeddings.
        layer_rows: (len(layers), n_tokens, width) float32.
        windows: (W, 2) first piece of each window, and one behind its last; with attentions only.
        attentions: (layers, heads, L, L) float32 for each window: how much each piece, special
            ones included, takes from each.
    """

    pieces: DocPieces
    rows: Floats2d
    layers: tuple[int, ...] = ()
    layer_rows: Floats3d | None = None
    windows: Integers | None = None
    attentions: tuple[Floats4d, ...] = ()

    def by_layer(self, n_layers: int) -> dict[int, Floats2d]:
        """Rows of all layers that are there, the last one as number n_layers."""
        others: Iterable[Floats2d] = () if self.layer_rows is None else self.layer_rows
        return {**dict(zip(self.layers, others, strict=True)), n_layers: self.rows}


@dataclass(frozen=True, eq=False)
class Heard:
    """What a listener hears while its encoder is being trained.

    Attributes:
        rows: (n_tokens, columns) per Doc: the layers asked for, side by side.
        report: takes the gradient of these rows and the factor to apply to it.
    """

    rows: list[Floats2d]
    report: Callable[[list[Floats2d], float], None]


class RowSource(Protocol):
    """The component that listeners listen to."""

    name: str
    model: Model[Any, Any]
    vocab: Vocab

    @property
    def width(self) -> int:
        """Width of a token row."""

    @property
    def n_layers(self) -> int:
        """Number of the last layer; the embeddings are layer 0."""

    def rows_for(self, docs: Sequence[Doc], layers: Sequence[int] | None = None) -> list[Floats2d]:
        """Token rows (n_tokens, columns) for prediction: some layers side by side, or the last."""

    def listen(self, listener: Model[Any, Any], docs: Sequence[Doc]) -> Heard | None:
        """Token rows for training; None if the encoder is not being trained on these Docs."""

    def waits_for(self, listener: Model[Any, Any]) -> bool:
        """Whether the encoder is being trained and this listener has not reported."""

    def lend(self, listener: Model[Any, Any]) -> Callable[[Callable[[], float]], None] | None:
        """Let a listener run the encoder itself; None if the encoder does not wait for it.

        Returns:
            Takes the backward of that run, which returns the squared norm of its gradient.
        """

    def remove_listener(self, listener: Model[Any, Any], component_name: str) -> bool:
        """Forget a listener."""
