"""Other layers than the last one: chosen layers of an encoder, mixed to one row per token.

    concat   (n_tokens, k x width)   the layers side by side
    mean     (n_tokens, width)       their mean
    scalar   (n_tokens, width)       scale * sum of softmax(weights)[i] * layer i, all learned

Source of the scalar mix: Peters et al. 2018 (arXiv:1802.05365), eq. 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats1d, Floats2d

from spacy_deberta.errors import ConfigError
from spacy_deberta.thinc_layers.listeners import ANY, ListenerState, init, layer_numbers
from spacy_deberta.thinc_layers.listeners import forward as hear
from spacy_deberta.thinc_layers.types import Wanted

MIXES = ("scalar", "mean", "concat")

DocsToRows = Model[list[Doc], list[Floats2d]]
Backprop = Callable[[list[Floats2d]], list[Any]]


def build_layers_listener(
    layers: list[int], mix: str = "scalar", upstream: str = ANY, grad_factor: float = 1.0
) -> DocsToRows:
    """A listener to several layers, registered as `spacy-deberta.LayersListener.v1`.

    Args:
        layers: 0 = the embeddings, 1 = the first layer; -1 = the last one, -2 the one before.
        mix: scalar, mean or concat.
        upstream: name of the encoder component; "*" = the nearest one before.
        grad_factor: factor on the gradient that goes to the encoder; 0 = none of it.

    Raises:
        ConfigError: no layers, one of them twice, an unknown mix, or a negative factor.
    """
    _check(layers, mix)
    if grad_factor < 0:
        raise ConfigError(f"grad_factor={grad_factor} is negative; expected 0 or more.")
    state = ListenerState(upstream, float(grad_factor), tuple(layers))
    model: DocsToRows = Model(
        "deberta-layers-listener",
        forward_listener,
        init=init,
        dims={"nO": None},
        attrs={"listener": state, "mix": mix},
    )
    return _with_weights(model, len(layers))


def build_layers_model(
    encoder: Model[list[Doc], list[Floats2d]], layers: list[int], mix: str = "scalar"
) -> DocsToRows:
    """The same with an encoder of its own, registered as `spacy-deberta.LayersModel.v1`.

    Args:
        encoder: a model of the architecture `spacy-deberta.DebertaModel.v1`.
        layers: as in `build_layers_listener`.
        mix: scalar, mean or concat.
    """
    _check(layers, mix)
    model: DocsToRows = Model(
        "deberta-layers",
        forward_model,
        init=init_model,
        layers=[encoder],
        dims={"nO": None},
        attrs={"layers": list(layers), "mix": mix},
    )
    return _with_weights(model, len(layers))


def forward_listener(
    model: DocsToRows, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Backprop]:
    """Rows (n_tokens, nO) of each Doc."""
    rows, report = hear(model, docs, is_train)
    return _mix(model, rows, report)


def forward_model(
    model: DocsToRows, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Backprop]:
    """Rows (n_tokens, nO) of each Doc."""
    from spacy_deberta.thinc_layers.transformer import encode, encode_for_update, prepare

    encoder = model.layers[0]
    last = prepare(encoder).encoder.config.num_hidden_layers
    numbers = layer_numbers(model.attrs["layers"], last)
    others = tuple(sorted({*numbers} - {last}))
    if not is_train:
        found = [encoded.by_layer(last) for encoded in encode(encoder, docs, Wanted(others))]
        xp = model.ops.xp
        chosen = [xp.concatenate([rows[number] for number in numbers], axis=1) for rows in found]
        return _mix(model, chosen, lambda d_rows: [])
    rows, backprop = encode_for_update(encoder, docs, others)
    width, places = encoder.get_dim("nO"), [*others, last]
    columns = [places.index(number) * width + c for number in numbers for c in range(width)]

    def report(d_chosen: list[Floats2d]) -> list[Any]:
        d_rows = [model.ops.xp.zeros_like(all_rows) for all_rows in rows]
        for whole, part in zip(d_rows, d_chosen, strict=True):
            whole[:, columns] = part
        return backprop(d_rows)

    return _mix(model, [all_rows[:, columns] for all_rows in rows], report)


def init_model(model: DocsToRows, X: Any = None, Y: Any = None) -> None:
    """Load the encoder; learn the width."""
    from spacy_deberta.thinc_layers.transformer import prepare

    encoder = model.layers[0]
    encoder.initialize()
    layer_numbers(model.attrs["layers"], prepare(encoder).encoder.config.num_hidden_layers)
    n_parts = len(model.attrs["layers"]) if model.attrs["mix"] == "concat" else 1
    model.set_dim("nO", encoder.get_dim("nO") * n_parts, force=True)


def _mix(
    model: DocsToRows, rows: list[Floats2d], backprop_rows: Backprop
) -> tuple[list[Floats2d], Backprop]:
    """Mix rows (n_tokens, k x width) of each Doc; concat leaves them as they are."""
    if model.attrs["mix"] == "concat":
        return rows, backprop_rows
    shares, scale = _shares(model)
    k, xp = len(shares), model.ops.xp
    stacked = [model.ops.reshape3f(part, len(part), k, part.shape[1] // k) for part in rows]
    mixed = [xp.einsum("k,tkw->tw", shares * scale, part) for part in stacked]

    def backprop(d_mixed: list[Floats2d]) -> list[Any]:
        if model.attrs["mix"] == "scalar":
            pairs = zip(d_mixed, stacked, strict=True)
            _learn(model, sum(xp.einsum("tw,tkw->k", d, part) for d, part in pairs))
        d_stacked = [xp.einsum("k,tw->tkw", shares * scale, d) for d in d_mixed]
        return backprop_rows([d.reshape(len(d), k * d.shape[2]) for d in d_stacked])

    return mixed, backprop


def _shares(model: DocsToRows) -> tuple[Floats1d, float]:
    """Share of each layer (k,), adding up to 1, and the factor on their sum."""
    if model.attrs["mix"] == "mean":
        k = model.attrs["n_mixed"]
        return model.ops.xp.full(k, 1 / k, dtype="f"), 1.0
    weights = model.get_param("weights")
    powers = model.ops.xp.exp(weights - weights.max())
    return powers / powers.sum(), float(model.get_param("scale")[0])


def _learn(model: DocsToRows, d_terms: Floats1d) -> None:
    """Gradients of weights and scale, from that of each layer's term without the scale (k,)."""
    shares, scale = _shares(model)
    mean = float(shares @ d_terms)
    model.inc_grad("weights", scale * shares * (d_terms - mean))
    model.inc_grad("scale", model.ops.asarray1f([mean]))


def _with_weights(model: DocsToRows, n_layers: int) -> DocsToRows:
    model.attrs["n_mixed"] = n_layers
    if model.attrs["mix"] == "scalar":
        model.set_param("weights", model.ops.alloc1f(n_layers))
        model.set_param("scale", model.ops.asarray1f([1.0]))
    return model


def _check(layers: list[int], mix: str) -> None:
    if mix not in MIXES:
        raise ConfigError(f"mix={mix!r} is unknown; supported: {', '.join(MIXES)}.")
    if not layers or len(set(layers)) < len(layers):
        raise ConfigError(f"layers={layers}: name one layer or more, each once.")
