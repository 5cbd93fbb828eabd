"""The torch heads of `spacy_deberta.heads` as thinc layers over rows of an encoder.

    kind       reads                                  gives
    token      rows of pieces or tokens (N, width)    (N, nO)
    sequence   first row of each sequence (B, width)  (B, nO)
    choice     first row of each sequence (B, width)  (B, 1); the caller groups the choices
    span       rows of pieces (N, width)              (N, 2): start, end
    mlm        TiedRows: rows of masked pieces        (N, vocab_size)

A head is built when it is initialized, from the width of the rows and `nO`, or filled by
`load_head` or from bytes. Its dropout is the node's `dropout_rate`, which spaCy's
`set_dropout_rate` sets in every update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, cast

import torch
from thinc.api import Model
from thinc.types import Floats2d
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from spacy_deberta.errors import ConfigError
from spacy_deberta.thinc_layers.head_shim import KINDS, HeadShim
from spacy_deberta.thinc_layers.sequences import SequenceEncoder

if TYPE_CHECKING:
    from spacy_deberta.config import DebertaConfig

Kind = Literal["token", "sequence", "span", "choice", "mlm"]
HeadModel = Model[Any, Floats2d]

_FIXED_SIZES = {"span": 2, "choice": 1}


@dataclass(frozen=True, eq=False)
class TiedRows:
    """What a head reads whose output matrix is the encoder's piece table.

    Attributes:
        rows: (N, width) of the pieces to predict.
        encoder: of the same update or prediction (`sequences.sequence_encoder`); while it is being
            trained its table gets a gradient, too.
    """

    rows: Floats2d
    encoder: SequenceEncoder


def build_head(
    kind: Kind,
    n_out: Optional[int] = None,  # noqa: UP045  (as in every registered function of spaCy)
    dropout: float = 0.1,
) -> HeadModel:
    """A head, registered as `spacy-deberta.Head.v1`.

    Args:
        kind: see the module.
        n_out: logits per row; null = `nO` is set before `initialize`, or is the kind's own.
        dropout: share of each row that is dropped in training.

    Raises:
        ConfigError: an unknown kind, or a number of logits that it does not have.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind={kind!r} is unknown; supported: {', '.join(KINDS)}.")
    fixed = _FIXED_SIZES.get(kind)
    if fixed is not None and n_out not in (None, fixed):
        raise ConfigError(f"n_out={n_out}: a '{kind}' head has {fixed}; leave it out.")
    return Model(
        f"deberta-head-{kind}",
        forward,
        init=init,
        dims={"nI": None, "nO": n_out if fixed is None else fixed},
        attrs={"dropout_rate": float(dropout)},
        shims=[HeadShim(kind)],
    )


def load_head(model: Model[Any, Any], folder: Path) -> DebertaConfig:
    """Fill the head inside a model with the trained one of a checkpoint.

    Args:
        model: the head, or a model with one head in it.
        folder: of the checkpoint.

    Returns:
        The checkpoint's config: `num_labels`, `id2label`, `problem_type`.

    Raises:
        CheckpointError: the checkpoint has no head of this kind; says which tasks it can do.
        ConfigError: the model has no head, or one of another size.
    """
    node = head_node(model)
    shim = _shim(node)
    config = shim.load(folder, node.get_dim("nO") if node.has_dim("nO") else None)
    _set_dims(node, shim)
    return config


def head_node(model: Model[Any, Any]) -> HeadModel:
    """The head inside a model."""
    for node in model.walk():
        if len(node.shims) == 1 and isinstance(node.shims[0], HeadShim):
            return node
    raise ConfigError(f"the model '{model.name}' has no head of spacy-deberta.Head.v1 in it.")


def forward(
    model: HeadModel, X: Floats2d | TiedRows, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """Logits of each row; the backward gives the gradient of the rows."""
    shim = _shim(model)
    module = shim.module
    module.train(is_train)
    given = X.rows if isinstance(X, TiedRows) else X
    rows = xp2torch(given, requires_grad=is_train, device=shim.device)
    if not is_train:
        with torch.no_grad():
            return _to_xp(model, shim.logits(rows, _table(X))), _no_gradient
    shim.set_dropout(model.attrs["dropout_rate"])
    logits = shim.logits(rows, _table(X))

    def backprop(d_logits: Floats2d) -> Floats2d:
        logits.backward(xp2torch(d_logits, device=logits.device))
        return _to_xp(model, cast(Tensor, rows.grad))

    return _to_xp(model, logits.detach()), backprop


def init(model: HeadModel, X: Any = None, Y: Any = None) -> None:
    """Build the head anew: width and, for tied heads, shape are those of X; nO may be that of Y.

    Without X the dims must be set. The first time after `load_head`, the head stays as it is.
    """
    shim = _shim(model)
    if shim.keeps_weights:
        shim.keeps_weights = False
        return
    if isinstance(X, TiedRows):
        shim.build_tied(X.encoder.config)
    else:
        if X is not None:
            model.set_dim("nI", X.shape[1], force=True)
        if Y is not None and not model.has_dim("nO"):
            model.set_dim("nO", Y.shape[1])
        shim.build(model.get_dim("nI"), model.get_dim("nO"))
    _set_dims(model, shim)


def _set_dims(model: HeadModel, shim: HeadShim) -> None:
    model.set_dim("nI", shim.config.hidden_size, force=True)
    model.set_dim("nO", shim.n_out, force=True)


def _shim(model: HeadModel) -> HeadShim:
    return cast(HeadShim, model.shims[0])


def _table(X: Floats2d | TiedRows) -> Tensor | None:
    return X.encoder.piece_table() if isinstance(X, TiedRows) else None


def _to_xp(model: HeadModel, tensor: Tensor) -> Floats2d:
    return cast(Floats2d, torch2xp(tensor.float(), ops=model.ops))


def _no_gradient(d_logits: Floats2d) -> Floats2d:
    return d_logits
