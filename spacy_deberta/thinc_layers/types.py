"""What passes from one stage to the next; inputs are never mutated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

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


@dataclass(frozen=True, eq=False)
class EncodedDocs:
    """What the encoder gives for a batch of Docs.

    Attributes:
        pieces: one per Doc.
        rows: (n_tokens, width) float32 per Doc: in prediction each in memory of its own, in
            training views of one array.
    """

    pieces: list[DocPieces]
    rows: list[Floats2d]


@dataclass(frozen=True, eq=False)
class Heard:
    """What a listener hears while its encoder is being trained.

    Attributes:
        rows: (n_tokens, width) per Doc.
        report: takes the gradient of these rows and the factor to apply to it.
    """

    rows: list[Floats2d]
    report: Callable[[list[Floats2d], float], None]


class RowSource(Protocol):
    """The component that listeners listen to."""

    name: str

    @property
    def width(self) -> int:
        """Width of a token row."""

    def rows_for(self, docs: Sequence[Doc]) -> list[Floats2d]:
        """Token rows for prediction."""

    def listen(self, listener: Model[Any, Any], docs: Sequence[Doc]) -> Heard | None:
        """Token rows for training; None if the encoder is not being trained on these Docs."""

    def remove_listener(self, listener: Model[Any, Any], component_name: str) -> bool:
        """Forget a listener."""
