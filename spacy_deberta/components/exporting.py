"""A trained pipeline back in the layout of released files, which `transformers` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from spacy.language import Language
from thinc.api import Model
from torch import Tensor

from spacy_deberta.config import TOKEN_POOLING
from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.head_shim import HeadShim
from spacy_deberta.thinc_layers.listeners import listener_state
from spacy_deberta.thinc_layers.shim import DebertaShim
from spacy_deberta.thinc_layers.tagger import OUTPUT
from spacy_deberta.tokenizers.files import SETTINGS_FILE

if TYPE_CHECKING:
    from spacy_deberta.config import DebertaConfig
    from spacy_deberta.modeling import DebertaPreTrainedModel

_PROBLEMS = {
    "exclusive": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written.

    Attributes:
        architecture: the class that reads it, ours and theirs.
        component: whose head it is; None = the encoder alone.
        notes: where the files say less than the pipeline does.
    """

    architecture: str
    component: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Head:
    """A head: the class of its model without the family, its tensors, and what config.json says."""

    architecture: str
    tensors: dict[str, Tensor]
    changes: dict[str, Any]
    notes: tuple[str, ...] = ()


def export_pipeline(nlp: Language, folder: Path, component: str | None = None) -> Exported:
    """Write config.json, model.safetensors and the tokenizer's files.

    Args:
        nlp: a trained pipeline.
        folder: made if absent; the files are replaced.
        component: whose head goes with the encoder; None = the only one there is, or none.

    Raises:
        PipelineError: no encoder, several heads to choose from, or one that has no place in the
            layout.
    """
    from spacy_deberta import modeling

    able = [name for name, pipe in nlp.pipeline if _is_exportable(pipe)]
    chosen = _choose(nlp, able, component)
    if chosen is None:
        shim, head = _encoder_of_pipeline(nlp), None
    else:
        pipe = nlp.get_pipe(chosen)
        shim, head = _encoder_of(chosen, pipe.model), _head_of(chosen, pipe)  # type: ignore[attr-defined]
    config = replace(shim.encoder.config, **(head.changes if head else {}))
    family = "Deberta" if config.model_type == "deberta" else "DebertaV2"
    name = family + (head.architecture if head else "Model")
    model: DebertaPreTrainedModel = _build(getattr(modeling, name), config, head)
    with torch.no_grad():
        model.encoder.load_state_dict(shim.encoder.state_dict())
        if head is not None:
            next(iter(model.heads().values())).load_state_dict(head.tensors)
    model.save_pretrained(folder)
    shim.tokenizer.save(folder)
    if config.position_biased_input:
        _declare_length(folder / SETTINGS_FILE, config.max_position_embeddings)
    return Exported(name, chosen, head.notes if head else ())


def _declare_length(file: Path, longest: int) -> None:
    """Let other libraries cut what an encoder with absolute positions cannot read."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model_max_length"] = longest
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _build(
    kind: type[DebertaPreTrainedModel], config: DebertaConfig, head: _Head | None
) -> DebertaPreTrainedModel:
    if head is not None and head.architecture == "ForMaskedLM":
        legacy = "legacy" if head.changes["legacy"] else "plain"
        return kind(config, mask_decoder=legacy)  # type: ignore[call-arg]
    return kind(config)


def _choose(nlp: Language, able: list[str], component: str | None) -> str | None:
    if component is None and len(able) > 1:
        raise PipelineError(
            f"the pipeline has heads of {', '.join(able)}; a checkpoint holds one. Choose by "
            "--component."
        )
    if component is None:
        return able[0] if able else None
    if component not in able:
        there = ", ".join(able) or "none"
        raise PipelineError(
            f"component '{component}' has no head that a checkpoint can hold; components that "
            f"have one: {there}. spaCy's own components stay in the pipeline."
        )
    return component


def _is_exportable(pipe: Any) -> bool:
    model = getattr(pipe, "model", None)
    return isinstance(model, Model) and (_head_shim(model) is not None or _is_tagger(model))


def _head_shim(model: Model[Any, Any]) -> HeadShim | None:
    found = (shim for node in model.walk() for shim in node.shims if isinstance(shim, HeadShim))
    return next(found, None)


def _is_tagger(model: Model[Any, Any]) -> bool:
    return {"tok2vec", OUTPUT} <= set(model.ref_names)


def _head_of(name: str, pipe: Any) -> _Head:
    shim = _head_shim(pipe.model)
    if shim is None:
        return _token_head(name, pipe)
    tensors = shim.module.state_dict()
    if shim.kind == "mlm":
        return _Head("ForMaskedLM", tensors, {"legacy": shim.form == "legacy_mlm"})
    if shim.kind == "span":
        return _Head("ForQuestionAnswering", tensors, {})
    if shim.kind == "choice":
        return _Head("ForMultipleChoice", tensors, {})
    if shim.kind == "sequence":
        changes = {"problem_type": _PROBLEMS.get(pipe.cfg.get("mode", ""))}
        return _Head("ForSequenceClassification", tensors, {**_labels(pipe.labels), **changes})
    raise PipelineError(f"component '{name}': its '{shim.kind}' head has no place in a checkpoint.")


def _token_head(name: str, pipe: Any) -> _Head:
    output = pipe.model.get_ref(OUTPUT)
    tok2vec = pipe.model.get_ref("tok2vec")
    if listener_state(tok2vec) is None and not any(_own_shims(tok2vec)):
        raise PipelineError(
            f"component '{name}' reads '{tok2vec.name}', more than the encoder's rows; a "
            "checkpoint has no place for that. Train it with the listener alone as tok2vec."
        )
    tensors = {
        "classifier.weight": torch.from_numpy(output.ops.to_numpy(output.get_param("W")).copy()),
        "classifier.bias": torch.from_numpy(output.ops.to_numpy(output.get_param("b")).copy()),
    }
    pooling = _encoder_of(name, pipe.model).pooling
    notes: tuple[str, ...] = ()
    if pooling != "first":
        notes = (
            f"the head was trained on rows pooled by '{pooling}'; transformers reads one piece, so "
            'words of several pieces may get other labels. Train with pooling = "first".',
        )
    extra = {**_encoder_of(name, pipe.model).encoder.config.extra, TOKEN_POOLING: pooling}
    changes = {**_labels(pipe.cfg["tags"]), "extra": extra}
    return _Head("ForTokenClassification", tensors, changes, notes)


def _labels(names: Any) -> dict[str, Any]:
    return {"num_labels": len(names), "id2label": dict(enumerate(names))}


def _encoder_of(name: str, model: Model[Any, Any]) -> DebertaShim:
    """The encoder that a component listens to, or its own."""
    for node in model.walk():
        state = listener_state(node)
        if state is not None:
            return next(iter(_own_shims(state.require_source().model)))
    for shim in _own_shims(model):
        return shim
    raise ConfigError(f"component '{name}' has no encoder.")


def _encoder_of_pipeline(nlp: Language) -> DebertaShim:
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for shim in _own_shims(model) if isinstance(model, Model) else ():
            return shim
    raise PipelineError("the pipeline has no component with a DeBERTa encoder.")


def _own_shims(model: Model[Any, Any]) -> Iterator[DebertaShim]:
    return (shim for node in model.walk() for shim in node.shims if isinstance(shim, DebertaShim))
