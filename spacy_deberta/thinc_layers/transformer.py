"""The model of the `deberta` component: Docs to token rows."""

from collections.abc import Callable, Sequence
from typing import Any, Optional, cast

import numpy as np
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from thinc.util import torch2xp, xp2torch

from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.pieces import split_docs
from spacy_deberta.thinc_layers.shim import DebertaShim
from spacy_deberta.thinc_layers.types import EncodedDocs, EncoderSettings
from spacy_deberta.thinc_layers.windows import pack_docs

DocsToRows = Model[list[Doc], list[Floats2d]]


def build_deberta_model(
    source: Optional[str] = None,  # noqa: UP045  (as in every registered function of spaCy)
    window: int = 256,
    stride: int = 192,
    pooling: str = "mean",
    batch_pieces: int = 8192,
) -> DocsToRows:
    """A DeBERTa encoder, registered as `spacy-deberta.DebertaModel.v1`.

    Nothing is read here: the weights are, when they are first used or at `initialize`.

    Args:
        source: checkpoint folder; null = the embedded model. A saved pipeline does not need it.
        window: pieces per window, [CLS] and [SEP] included; longer texts are cut.
        stride: pieces from the start of one window to the start of the next.
        pooling: from the rows of a token's pieces to its own: mean, first, last, max or sum.
        batch_pieces: most pieces that go through the encoder at once. Memory, not results.

    Raises:
        AlignmentError: window and stride do not fit together.
        ConfigError: unknown pooling, or a budget that holds nothing.
    """
    _check_settings(window, stride, pooling, batch_pieces)
    return Model(
        "deberta",
        forward,
        init=init,
        dims={"nO": None},
        attrs={"settings": EncoderSettings(window, stride, pooling, batch_pieces)},
        shims=[DebertaShim(source, pooling)],
    )


def forward(
    model: DocsToRows, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Any]]]:
    """Token rows of each Doc, (n_tokens, nO)."""
    if is_train:
        encoded, backprop = encode_for_update(model, docs)
        return encoded.rows, backprop
    return encode(model, docs).rows, _no_gradient


def init(model: DocsToRows, X: Any = None, Y: Any = None) -> None:
    """Go back to the weights of the source; learn the width."""
    shim_of(model).load_source()
    prepare(model)


def encode(model: DocsToRows, docs: Sequence[Doc]) -> EncodedDocs:
    """Pieces and token rows, for prediction."""
    shim = prepare(model)
    pieces = split_docs(shim.tokenizer, docs)
    rows = shim.predict(pack_docs(pieces, shim.tokenizer, model.attrs["settings"]))
    return EncodedDocs(pieces, [cast(Floats2d, torch2xp(part, ops=model.ops)) for part in rows])


def encode_for_update(
    model: DocsToRows, docs: Sequence[Doc]
) -> tuple[EncodedDocs, Callable[[list[Floats2d]], list[Any]]]:
    """Pieces and token rows, for training, and the backward from the gradient of the rows."""
    shim = prepare(model)
    pieces = split_docs(shim.tokenizer, docs)
    rows, backward = shim.begin_update(pack_docs(pieces, shim.tokenizer, model.attrs["settings"]))

    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        gradient = model.ops.xp.concatenate(d_rows)
        backward(xp2torch(gradient, device=rows.device))
        return []

    return EncodedDocs(pieces, _per_doc(model, rows, docs)), backprop


def prepare(model: DocsToRows) -> DebertaShim:
    """The model's shim with weights in it, which fit the settings; sets the width."""
    shim = shim_of(model)
    config, window = shim.encoder.config, model.attrs["settings"].window
    if config.position_biased_input and window > config.max_position_embeddings:
        raise ConfigError(
            f"window={window} is longer than the encoder of source={shim.source!r} can read: it "
            f"adds absolute positions to its input and has max_position_embeddings="
            f"{config.max_position_embeddings} of them. Use window={config.max_position_embeddings}"
            " or less."
        )
    model.set_dim("nO", config.hidden_size, force=True)
    return shim


def shim_of(model: DocsToRows) -> DebertaShim:
    """The shim of a model that `build_deberta_model` built; PipelineError for any other model."""
    if len(model.shims) != 1 or not isinstance(model.shims[0], DebertaShim):
        raise PipelineError(
            f"the component's model is '{model.name}', expected the architecture "
            "spacy-deberta.DebertaModel.v1."
        )
    return model.shims[0]


def _check_settings(window: int, stride: int, pooling: str, batch_pieces: int) -> None:
    from spacy_deberta.alignment import split_windows
    from spacy_deberta.encoder import check_pooling

    split_windows(0, window=window, stride=stride)
    check_pooling(pooling)
    if batch_pieces < 1:
        raise ConfigError(f"batch_pieces={batch_pieces} holds no piece; use 1 or more.")


def _per_doc(model: DocsToRows, rows: torch.Tensor, docs: Sequence[Doc]) -> list[Floats2d]:
    """Cut the rows (T, nO) of all tokens into one view per Doc."""
    flat = cast(Floats2d, torch2xp(rows, ops=model.ops))
    ends = np.cumsum([len(doc) for doc in docs]).tolist()
    return [flat[end - len(doc) : end] for doc, end in zip(docs, ends, strict=True)]


def _no_gradient(d_rows: list[Floats2d]) -> list[Any]:
    return []
