"""The model of the `deberta` component: Docs to token rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Optional, cast

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d, Floats4d
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.compute import Compute
from spacy_deberta.thinc_layers.pieces import split_docs
from spacy_deberta.thinc_layers.replacing import replace_listener, replace_listener_config
from spacy_deberta.thinc_layers.shim import DebertaShim
from spacy_deberta.thinc_layers.types import EncodedDoc, EncoderSettings, Wanted
from spacy_deberta.thinc_layers.windows import pack_docs

DocsToRows = Model[list[Doc], list[Floats2d]]
Backprop = Callable[[list[Floats2d]], list[Any]]

LAST_LAYER = Wanted()


def build_deberta_model(  # noqa: PLR0913, PLR0917  (one argument per setting of the config)
    source: Optional[str] = None,  # noqa: UP045  (as in every registered function of spaCy)
    window: int = 256,
    stride: int = 192,
    pooling: str = "mean",
    batch_pieces: int = 8192,
    precision: str = "fp32",
    device: str = "auto",
    gradient_checkpointing: bool = False,
) -> DocsToRows:
    """A DeBERTa encoder, registered as `spacy-deberta.DebertaModel.v1`.

    Nothing is read here: the weights are, when they are first used or at `initialize`.

    Args:
        source: checkpoint folder or hub name; null = the embedded model. A saved pipeline does not
            need it.
        window: pieces per window, [CLS] and [SEP] included; longer texts are cut.
        stride: pieces from the start of one window to the start of the next.
        pooling: from the rows of a token's pieces to its own: mean, first, last, max or sum.
        batch_pieces: most pieces that go through the encoder at once. Memory, not results.
        precision: of the encoder's products: fp32, bf16, or fp16 (CUDA only).
        device: "auto" = where thinc computes; or a device such as "cuda:1", without cupy, too.
        gradient_checkpointing: in training, less memory for more time.

    Raises:
        AlignmentError: window and stride do not fit together.
        ConfigError: unknown pooling, precision or device, or a budget that holds nothing.
    """
    _check_settings(window, stride, pooling, batch_pieces)
    compute = Compute(precision, device, gradient_checkpointing)
    return Model(
        "deberta",
        forward,
        init=init,
        dims={"nO": None},
        attrs={
            "settings": EncoderSettings(window, stride, pooling, batch_pieces),
            "replace_listener": replace_listener,
            "replace_listener_cfg": replace_listener_config,
        },
        shims=[DebertaShim(source, pooling, compute)],
    )


def forward(model: DocsToRows, docs: list[Doc], is_train: bool) -> tuple[list[Floats2d], Backprop]:
    """Token rows of each Doc, (n_tokens, nO)."""
    if is_train:
        return encode_for_update(model, docs)
    return [encoded.rows for encoded in encode(model, docs)], _no_gradient


def init(model: DocsToRows, X: Any = None, Y: Any = None) -> None:
    """Go back to the weights of the source; learn the width."""
    shim_of(model).load_source()
    prepare(model)


def encode(model: DocsToRows, docs: Sequence[Doc], wanted: Wanted = LAST_LAYER) -> list[EncodedDoc]:
    """Pieces and token rows, for prediction."""
    shim, settings = prepare(model), model.attrs["settings"]
    pieces = split_docs(shim.tokenizer, docs)
    parts = shim.predict(pack_docs(pieces, shim.tokenizer, settings), wanted.layers)
    encoded = []
    for doc, part in zip(pieces, parts, strict=True):
        *others, last = (
            model.ops.xp.ascontiguousarray(torch2xp(rows, ops=model.ops))
            for rows in part.split(shim.encoder.config.hidden_size, dim=1)
        )
        found = EncodedDoc(
            pieces=doc,
            rows=last,
            layers=wanted.layers,
            layer_rows=model.ops.xp.stack(others) if others else None,
        )
        encoded.append(_with_attentions(shim, found, settings) if wanted.attentions else found)
    return encoded


def encode_for_update(
    model: DocsToRows, docs: Sequence[Doc], layers: Sequence[int] = ()
) -> tuple[list[Floats2d], Backprop]:
    """Token rows for training, and the backward from their gradient.

    Returns:
        (n_tokens, columns) per Doc: the rows of these layers, then of the last one.
    """
    shim = prepare(model)
    pieces = split_docs(shim.tokenizer, docs)
    batch = pack_docs(pieces, shim.tokenizer, model.attrs["settings"])
    rows, backward = shim.begin_update(batch, layers)

    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        gradient = model.ops.xp.concatenate(d_rows)
        backward(xp2torch(gradient, device=rows.device))
        return []

    return _per_doc(model, rows, docs), backprop


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


def shim_of(model: Model[Any, Any]) -> DebertaShim:
    """The encoder's shim of a model of ours; PipelineError for any other model."""
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


def _with_attentions(
    shim: DebertaShim, encoded: EncodedDoc, settings: EncoderSettings
) -> EncodedDoc:
    """Add the attention probabilities of a Doc's windows.

    A run of its own, Doc by Doc: whoever asks for squares of numbers does not mind the time.
    """
    from spacy_deberta.alignment import split_windows

    pieces = encoded.pieces
    windows = split_windows(len(pieces.pieces), window=settings.window, stride=settings.stride)
    squares = shim.attentions(pack_docs([pieces], shim.tokenizer, settings))
    return replace(
        encoded,
        windows=np.stack([windows.starts, windows.ends], axis=1),
        attentions=tuple(cast(Floats4d, square.numpy()) for square in squares),
    )


def _per_doc(model: DocsToRows, rows: Tensor, docs: Sequence[Doc]) -> list[Floats2d]:
    """Cut the rows (T, columns) of all tokens into one view per Doc."""
    flat = cast(Floats2d, torch2xp(rows, ops=model.ops))
    ends = np.cumsum([len(doc) for doc in docs]).tolist()
    return [flat[end - len(doc) : end] for doc, end in zip(docs, ends, strict=True)]


def _no_gradient(d_rows: list[Floats2d]) -> list[Any]:
    return []
