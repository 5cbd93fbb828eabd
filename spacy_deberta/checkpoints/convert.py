"""A checkpoint of any supported format to one that every implementation reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spacy_deberta.checkpoints.accounting import ADVICE, refuse_faults
from spacy_deberta.checkpoints.checkpoint import Checkpoint, open_checkpoint
from spacy_deberta.checkpoints.files import (
    TOKENIZER_FILES,
    WEIGHTS_FILE,
    narrow,
    write_config,
    write_h5,
    write_weights,
)
from spacy_deberta.checkpoints.load import damaged_values, state_tensors
from spacy_deberta.errors import CheckpointError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
H5 = "h5"
SAFETENSORS = "safetensors"

# The classes of TensorFlow that have a head, by the kind of the head; there are no others.
_TENSORFLOW_CLASSES = {
    "legacy_mlm": "ForMaskedLM",
    "pooler_classifier": "ForSequenceClassification",
    "classifier": "ForTokenClassification",
    "qa": "ForQuestionAnswering",
}


@dataclass(frozen=True, eq=False)
class Conversion:
    """What was written.

    Attributes:
        source: what the folder held.
        heads: kinds of the heads that were written.
        left_out: kinds of the heads that the format has no place for.
        copied: names of the tokenizer's files.
    """

    source: Checkpoint
    heads: tuple[str, ...]
    left_out: tuple[str, ...]
    copied: tuple[str, ...]


def convert_folder(
    folder: Path,
    target: Path,
    *,
    weight_format: str = SAFETENSORS,
    dtype: str = "float32",
    weights: str | None = None,
) -> Conversion:
    """Write config, weights and tokenizer of a checkpoint folder into another folder.

    Args:
        folder: with weights in any supported format.
        target: made if absent; what is in it is replaced.
        weight_format: "safetensors" or "h5".
        dtype: "float32", "float16" or "bfloat16"; an h5 file takes the first only.
        weights: name of one file in the folder; None = the usual ones.

    Raises:
        CheckpointError: a file is missing or damaged, tensors do not fit config.json, or the
            format cannot hold what is asked for. Nothing is written then.
    """
    if target.exists() and target.samefile(folder):
        raise CheckpointError(f"{target}: is the folder to convert; expected another one.")
    if weight_format == H5 and dtype != "float32":
        raise CheckpointError(f"dtype='{dtype}': h5 files are written in float32 only.")
    checkpoint = open_checkpoint(folder, weights=weights)
    refuse_faults([*checkpoint.faults, *damaged_values(checkpoint)], checkpoint.file, ADVICE)
    heads = _tensorflow_heads(checkpoint) if weight_format == H5 else checkpoint.heads
    tensors = state_tensors(checkpoint.config, checkpoint.encoder, heads)
    tensors = narrow(tensors, DTYPES[dtype], target / WEIGHTS_FILE)
    if weight_format == H5:
        write_h5(target, tensors, _tensorflow_class(checkpoint, heads))
    else:
        write_weights(target, tensors)
    write_config(target, checkpoint.config.to_dict())
    copied = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    for name in copied:
        shutil.copyfile(folder / name, target / name)
    left_out = tuple(kind for kind in checkpoint.heads if kind not in heads)
    return Conversion(checkpoint, tuple(heads), left_out, tuple(copied))


def _tensorflow_heads(checkpoint: Checkpoint) -> dict[str, dict[str, Tensor]]:
    """The head that a class of TensorFlow has: one at most."""
    kinds = [kind for kind in checkpoint.heads if kind in _TENSORFLOW_CLASSES]
    return {kind: checkpoint.heads[kind] for kind in kinds[:1]}


def _tensorflow_class(checkpoint: Checkpoint, heads: Mapping[str, Mapping[str, Tensor]]) -> str:
    suffix = next((_TENSORFLOW_CLASSES[kind] for kind in heads), "Model")
    is_choice = "multiple-choice" in checkpoint.tasks
    if suffix == "ForSequenceClassification" and is_choice and checkpoint.config.num_labels > 1:
        suffix = "ForMultipleChoice"
    return type(checkpoint.config).__name__.removesuffix("Config") + suffix
