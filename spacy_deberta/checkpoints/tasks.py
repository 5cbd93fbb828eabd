"""Which heads the tensors beside an encoder make, and which tasks they can do."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spacy_deberta.checkpoints.names import HEAD_NAMES
from spacy_deberta.checkpoints.parts import POSITION_TABLE, WORD_TABLE, Part
from spacy_deberta.config import DebertaConfig

Heads = dict[str, dict[str, Tensor]]

_KINDS = {
    "lm_predictions": "mlm",
    "cls": "legacy_mlm",
    "mask_predictions": "rtd",
    "qa_outputs": "qa",
}
_CLASSIFYING = ("pooler", "proj", "classifier")
_TIED = {  # what the legacy head holds twice -> where it stands
    "cls.predictions.decoder.weight": WORD_TABLE,
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def take_heads(part: Part, config: DebertaConfig) -> Heads:
    """Take the tensors of heads out of a part.

    A tensor under a head's prefix that the head does not have stays with the head, under its name
    in the file: whoever fills that head learns of it, whoever wants the encoder alone need not.

    Args:
        part: loses what belongs to heads; gains reasons for what is ignored.
        config: decides whether absolute positions are part of the encoder.

    Returns:
        By kind of head: its tensors by the names of its module.
    """
    part.is_discriminator |= any(name.startswith("mask_predictions.") for name in part.tensors)
    _drop_ties(part)
    tops = {name: name.partition(".")[0] for name in part.tensors}
    classifying = _classifier_kind(part, {top for top in tops.values() if top in _CLASSIFYING})
    heads: Heads = {}
    for name, top in tops.items():
        kind = classifying if top in _CLASSIFYING else _KINDS.get(top)
        if top in _CLASSIFYING and kind is None:
            part.ignore(name, f"a {top} without a classifier")
        elif kind == "mlm" and part.is_discriminator:
            part.ignore(name, "a masked-LM head that was trained with the generator")
        elif kind is not None:
            ours = HEAD_NAMES[kind].get(name, name)
            heads.setdefault(kind, {})[ours] = part.tensors.pop(name)
    _take_positions(part, config, heads)
    return heads


def find_tasks(config: DebertaConfig, heads: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, ...]:
    """What the encoder can do with heads that are whole.

    Masks are filled only with a head in the form in which it was trained: behind the mask decoder,
    or on the last layer where positions are in the input or the config says so (legacy=false).
    """
    whole = {kind for kind, found in heads.items() if _is_whole(kind, found)}
    on_last_layer = config.position_biased_input or not config.legacy
    n_logits = 0
    if "pooler_classifier" in whole:
        n_logits = heads["pooler_classifier"]["classifier.bias"].numel()
    can = {
        "encoder": True,
        "fill-mask": "legacy_mlm" in whole
        or ("mlm" in whole and (on_last_layer or "mask_decoder" in whole)),
        "sequence-classification": n_logits > 1 or n_logits == config.num_labels,
        "token-classification": not whole.isdisjoint({"classifier", "ner_proj"}),
        "question-answering": "qa" in whole,
        "multiple-choice": n_logits == 1,
        "replaced-token-detection": "rtd" in whole,
    }
    return tuple(task for task, able in can.items() if able)


def _is_whole(kind: str, found: Mapping[str, Tensor]) -> bool:
    return found.keys() == set(HEAD_NAMES[kind].values())


def _classifier_kind(part: Part, tops: set[str]) -> str | None:
    """Which head `classifier` belongs to; None without one."""
    if "classifier" not in tops:
        return None
    if "pooler" in tops:
        return "pooler_classifier"
    if "proj" not in tops:
        return "classifier"
    weight = part.tensors.get("classifier.weight")
    return "record" if weight is not None and weight.shape[:1] == (1,) else "ner_proj"


def _drop_ties(part: Part) -> None:
    """Take out what is tied to another tensor; an untied output matrix stays, and is refused."""
    for name, source in _TIED.items():
        if name not in part.tensors:
            continue
        if source not in part.tensors and source != WORD_TABLE:
            part.tensors[source] = part.tensors.pop(name)
            part.origins[source] = part.origins[name]
        elif source in part.tensors and torch.equal(part.tensors[source], part.tensors[name]):
            part.ignore(name, f"the same as '{source}'")


def _take_positions(part: Part, config: DebertaConfig, heads: Heads) -> None:
    """Absolute positions that the input does not use are the mask decoder's, if there is one."""
    if config.position_biased_input or POSITION_TABLE not in part.tensors:
        return
    if "mlm" in heads and config.embedding_size == config.hidden_size:
        heads["mask_decoder"] = {"positions": part.tensors.pop(POSITION_TABLE)}
    else:
        part.ignore(POSITION_TABLE, "absolute positions, which only a mask decoder would read")
