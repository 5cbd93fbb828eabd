"""Names and layouts of TensorFlow's DeBERTa checkpoints, beside those of PyTorch's.

    deberta/encoder/layer_._0/attention/self/query_proj/kernel:0    in [in, out]
    deberta.encoder.layer.0.attention.self.query_proj.weight        in [out, in]

Kernels have their axes in the opposite order, also the convolution's: [k, in, out] against
[out, in, k]. TensorFlow's DeBERTa-v2 keeps the first version's names of the position projections;
only the first version has the fused projection `in_proj`, which tells the two apart.

Source: keras names of modeling_tf_deberta{,_v2}.py in transformers 4.57.6, see `TF_LAYERS`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from spacy_deberta.errors import CheckpointError

# Keras layers of every class, in order; a dropout is a layer without weights.
TF_LAYERS = {
    "Model": ("deberta",),
    "ForMaskedLM": ("deberta", "cls"),
    "ForSequenceClassification": ("deberta", "pooler", "cls_dropout", "classifier"),
    "ForTokenClassification": ("deberta", "dropout", "classifier"),
    "ForQuestionAnswering": ("deberta", "qa_outputs"),
    "ForMultipleChoice": ("deberta", "dropout", "pooler", "classifier"),
}

_CLASS = re.compile(r"(?:TF)?Deberta(V2)?(\w+)")
_NUMBERED = re.compile(r"\blayer_\._(\d+)")
_LAYER = re.compile(r"\blayer/(\d+)")
_FUSED = "/in_proj/"
_POSITIONS = {"pos_key_proj": "pos_proj", "pos_query_proj": "pos_q_proj"}  # PyTorch to TensorFlow
_POSITIONS_BACK = {theirs: ours for ours, theirs in _POSITIONS.items()}
_LEAVES = {  # PyTorch's last two parts to TensorFlow's last; any other "weight" is a kernel
    ("LayerNorm", "weight"): "gamma",
    ("LayerNorm", "bias"): "beta",
    ("word_embeddings", "weight"): "weight",
    ("position_embeddings", "weight"): "embeddings",
    ("token_type_embeddings", "weight"): "embeddings",
}
_LEAVES_BACK = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}
_TABLE = "rel_embeddings"  # its weight is called "rel_embeddings.weight" there, with the dot


def to_torch(tensors: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """TensorFlow's tensors under PyTorch's names, in PyTorch's layout.

    Raises:
        CheckpointError: two tensors get one name.
    """
    fused = has_fused(tensors)
    renamed = {
        torch_name(name, fused=fused): turn(name, tensor) for name, tensor in tensors.items()
    }
    if len(renamed) != len(tensors):
        raise CheckpointError(f"{file}: holds a tensor twice under TensorFlow's names.")
    return renamed


def has_fused(names: Collection[str]) -> bool:
    """Tell whether these are names of the first version."""
    return any(_FUSED in name for name in names)


def torch_name(name: str, *, fused: bool) -> str:
    """PyTorch's name of a TensorFlow weight.

    Args:
        name: without the class, such as "deberta/embeddings/LayerNorm/gamma:0".
        fused: whether the file is of the first version.
    """
    *parents, leaf = _NUMBERED.sub(r"layer/\1", name.removesuffix(":0")).split("/")
    if not fused:
        parents = [_POSITIONS_BACK.get(parent, parent) for parent in parents]
    return ".".join([*parents, _LEAVES_BACK.get(leaf, leaf)])


def tensorflow_name(name: str) -> str:
    """TensorFlow's name of a PyTorch weight, without the class; `torch_name` undoes it."""
    *parents, leaf = _LAYER.sub(r"layer_._\1", name.replace(".", "/")).split("/")
    parents = [_POSITIONS.get(parent, parent) for parent in parents]
    last = parents[-1] if parents else ""
    if last == _TABLE:
        return "/".join(parents) + f".{leaf}:0"
    leaf = _LEAVES.get((last, leaf), "kernel" if leaf == "weight" else leaf)
    return "/".join([*parents, leaf]) + ":0"


def turn(name: str, tensor: Tensor) -> Tensor:
    """A TensorFlow weight in PyTorch's layout, or the other way round.

    Args:
        name: TensorFlow's.
        tensor: (in, out) for (out, in), or (k, in, out) for (out, in, k), where it is a kernel.
    """
    if not name.endswith("/kernel:0"):
        return tensor
    return tensor.permute(*reversed(range(tensor.dim()))).contiguous()


def keras_layers(class_name: str) -> tuple[str, ...]:
    """Keras layers of the TensorFlow class that stands for one of ours.

    Args:
        class_name: "DebertaV2ForMaskedLM", with or without "TF" before it.

    Raises:
        CheckpointError: TensorFlow has no such class.
    """
    match = _CLASS.fullmatch(class_name)
    only_second = match is not None and match[2] == "ForMultipleChoice" and match[1] is None
    if match is None or match[2] not in TF_LAYERS or only_second:
        raise CheckpointError(
            f"{class_name}: TensorFlow has no such DeBERTa; expected one of DebertaV2"
            f"{', '.join(TF_LAYERS)}. Save it as safetensors instead."
        )
    return TF_LAYERS[match[2]]


def keras_name(class_name: str) -> str:
    """The name that Keras gives the first model of a class: "tf_deberta_v2_for_masked_lm"."""
    spaced = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", "TF" + class_name.removeprefix("TF"))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
