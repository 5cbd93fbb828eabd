"""A config for spacy-transformers, or spacy-curated-transformers, as one for this package."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spacy_deberta.errors import ConfigError

if TYPE_CHECKING:
    from confection import Config

FACTORIES = ("transformer", "curated_transformer")
MODELS = (
    "spacy-transformers.TransformerModel.",
    "spacy-transformers.Tok2VecTransformer.",
    "spacy-curated-transformers.",
)
LISTENERS = (
    "spacy-transformers.TransformerListener.v1",
    "spacy-curated-transformers.LastTransformerLayerListener.v1",
    "spacy-curated-transformers.ScalarWeightingListener.v1",
    "spacy-curated-transformers.TransformerLayersListener.v1",
)
SCALAR_MIX = LISTENERS[2]
POOLINGS = {
    "reduce_mean.v1": "mean",
    "reduce_first.v1": "first",
    "reduce_last.v1": "last",
    "reduce_max.v1": "max",
    "reduce_sum.v1": "sum",
}
OURS = {
    "model": "spacy-deberta.DebertaModel.v1",
    "listener": "spacy-deberta.DebertaListener.v1",
    "optimizer": "spacy-deberta.AdamW.v1",
}
_ADAM_OPTIONS = ("learn_rate", "beta1", "beta2", "eps", "grad_clip", "use_averages")
_FRESH_HEADS = 10.0  # their heads have the encoder's own small rate; ours need not


@dataclass
class Migration:
    """A config being rewritten.

    Attributes:
        config: the new one.
        notes: what a person should look at, in order.
    """

    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def migrate_config(config: Mapping[str, Any], source: str | None = None) -> Migration:
    """Rewrite components, listeners, optimizer and initialization; everything else stays.

    Args:
        config: not interpolated; not changed.
        source: encoder to use instead of the one named.

    Raises:
        ConfigError: there is nothing to migrate.
    """
    done = Migration(copy.deepcopy({key: _plain(value) for key, value in config.items()}))
    components = done.config.get("components", {})
    encoders = [name for name, block in components.items() if block.get("factory") in FACTORIES]
    alone = [n for n, block in components.items() if n not in encoders and list(_models(block))]
    if not encoders and not alone:
        raise ConfigError(
            "the config has no component of spacy-transformers or spacy-curated-transformers; "
            "there is nothing to migrate."
        )
    poolings = {_pooling(node) for block in components.values() for node in _listeners(block)}
    pooling = _one_pooling(done, poolings - {None})
    for name in encoders:
        components[name] = _encoder(done, name, source, pooling)
    for name, block in components.items():
        _rewrite_nodes(done, name, block, source)
    _rewrite_optimizer(done)
    batcher = done.config.get("training", {}).get("batcher", {})
    if batcher.get("discard_oversize"):
        batcher["discard_oversize"] = False
        done.notes.append(
            "[training.batcher] discard_oversize is now false: long texts are read in windows, "
            "not dropped."
        )
    return done


def fill_migrated(done: Migration) -> Config:
    """The new config with every default filled in.

    Raises:
        ConfigError: a part of the old config cannot be read.
    """
    from spacy_deberta.cli.blueprint import fill

    return fill(done.config)


def _encoder(done: Migration, name: str, source: str | None, pooling: str) -> dict[str, Any]:
    """The block of a component `deberta` for an encoder component of theirs."""
    old = done.config["components"][name]
    model = old.get("model", {})
    initialize = done.config.get("initialize", {}).get("components", {}).pop(name, {})
    found = model.get("name") or initialize.get("encoder_loader", {}).get("name")
    chosen = _check_source(done, name, found, source)
    if model.get("transformer_config"):
        done.notes.append(
            f"[components.{name}.model] transformer_config is left out: ours is the checkpoint's."
        )
    precision = "bf16" if model.get("mixed_precision") else "fp32"
    if old.get("set_extra_annotations", {}).get("@annotation_setters", _NO_SETTER) != _NO_SETTER:
        done.notes.append(f"[components.{name}] set_extra_annotations is left out.")
    done.notes.append(
        f"[components.{name}.model] windows are counted in pieces here (window = 256, stride = "
        "192), in tokens there; nothing is cut off."
    )
    return {
        "factory": "deberta",
        "model": {
            "@architectures": OURS["model"],
            "source": chosen,
            "pooling": pooling,
            "precision": precision,
        },
    }


_NO_SETTER = "spacy-transformers.null_annotation_setter.v1"


def _rewrite_nodes(
    done: Migration, name: str, block: MutableMapping[str, Any], source: str | None
) -> None:
    """Listeners, and encoders of a component's own."""
    for node in list(_listeners(block)):
        if node["@architectures"] == SCALAR_MIX:
            done.notes.append(f"[components.{name}] the mix of all layers became the last layer.")
        names = ("upstream", "upstream_name", "grad_factor")
        kept: dict[str, Any] = {key: node[key] for key in names if key in node}
        if "upstream_name" in kept:
            kept["upstream"] = kept.pop("upstream_name")
        node.clear()
        node.update({"@architectures": OURS["listener"], **kept})
    for node in list(_models(block)):
        pooling = _pooling(node) or "mean"
        chosen = _check_source(done, name, node.get("name"), source)
        node.clear()
        node.update({"@architectures": OURS["model"], "source": chosen, "pooling": pooling})


def _rewrite_optimizer(done: Migration) -> None:
    optimizer = done.config.get("training", {}).get("optimizer", {})
    if optimizer.get("@optimizers") not in ("Adam.v1", "RAdam.v1"):
        return
    kept = {key: optimizer[key] for key in _ADAM_OPTIONS if key in optimizer}
    done.config["training"]["optimizer"] = {
        "@optimizers": OURS["optimizer"],
        **kept,
        "weight_decay": optimizer.get("L2", 0.01),
        "head_learn_rate_scale": _FRESH_HEADS,
    }
    done.notes.append(
        f"[training.optimizer] head_learn_rate_scale = {_FRESH_HEADS}: heads start from random "
        "weights and now have larger steps than the encoder; 1.0 is as before."
    )


def _check_source(done: Migration, name: str, found: str | None, source: str | None) -> str | None:
    chosen = source if source is not None else found
    if chosen is None:
        done.notes.append(f"[components.{name}] names no encoder: the embedded model is used.")
    elif "deberta" not in chosen.lower():
        done.notes.append(
            f"[components.{name}] source = {chosen!r} does not look like a DeBERTa; give one by "
            "--source."
        )
    return chosen


def _one_pooling(done: Migration, poolings: set[str | None]) -> str:
    found = sorted(str(pooling) for pooling in poolings)
    if len(found) > 1:
        done.notes.append(
            f"listeners pool by {' and '.join(found)}; ours all read rows pooled by the encoder: "
            f"{found[0]}."
        )
    return found[0] if found else "mean"


def _pooling(node: Mapping[str, Any]) -> str | None:
    """Our name of a listener's pooling; None if it does not say."""
    layer = node.get("pooling", {})
    return POOLINGS.get(layer.get("@layers", "")) if isinstance(layer, Mapping) else None


def _listeners(block: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a value of a config
    return (node for node in _nodes(block) if node.get("@architectures") in LISTENERS)


def _models(block: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for node in _nodes(block):
        architecture = str(node.get("@architectures", ""))
        if architecture.startswith(MODELS) and architecture not in LISTENERS:
            yield node


def _nodes(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)


def _plain(value: Any) -> Any:  # noqa: ANN401
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value
