"""What a checkpoint folder holds: config, encoder, heads, and what it can do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spacy_deberta.checkpoints.accounting import shape_faults
from spacy_deberta.checkpoints.files import (
    CONFIG_FILE,
    MICROSOFT_CONFIG_FILE,
    TensorFile,
    read_config,
    read_tensors,
)
from spacy_deberta.checkpoints.json_file import read_object
from spacy_deberta.checkpoints.layouts import FUSED_MODEL_TYPE, encoder_names, to_file, to_modules
from spacy_deberta.checkpoints.names import ENCODER_NAMES, FUSED_ENCODER_NAMES, rename
from spacy_deberta.checkpoints.parts import DISCRIMINATOR, GENERATOR, PARTS, Part, choose_part
from spacy_deberta.checkpoints.tasks import find_tasks, take_heads
from spacy_deberta.checkpoints.unfilled import unfilled
from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.encoder import DebertaEncoder

GENERATOR_FILE = "pytorch_model.generator.bin"

_OLD_BUFFER = "embeddings.position_ids"
_TABLE_NORM = ("encoder.LayerNorm.weight", "encoder.LayerNorm.bias")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of one model by the names of our modules, every one of the file accounted for.

    Attributes:
        config: the shape.
        file: the file of the weights, for messages.
        format: "safetensors", "bin" or "h5"; "bytes" outside a file.
        encoder: by the names of `DebertaEncoder`, float32; not complete where there are faults.
        heads: by kind of head (`names.HEAD_NAMES`): tensors by the names of its module.
        ignored: name in the file -> why nothing is lost without it.
        faults: everything in names and shapes that keeps the encoder from being filled.
        tasks: what the file can do: "encoder", "fill-mask", "sequence-classification",
            "token-classification", "question-answering", "multiple-choice",
            "replaced-token-detection".
    """

    config: DebertaConfig
    file: str
    format: str
    encoder: dict[str, Tensor]
    heads: dict[str, dict[str, Tensor]]
    ignored: dict[str, str]
    faults: list[str]
    tasks: tuple[str, ...]


def open_checkpoint(
    folder: Path,
    *,
    weights: str | None = None,
    part: str = DISCRIMINATOR,
    config: DebertaConfig | None = None,
) -> Checkpoint:
    """Read a checkpoint folder and say what every tensor in it is.

    Args:
        folder: with config.json (or Microsoft's model_config.json) and weights.
        weights: name of one file in it; None = the usual ones.
        part: "generator" for filling masks: it prefers the generator of a v3 release or training
            dump where there is one, and changes nothing elsewhere.
        config: instead of the one in the folder.

    Raises:
        CheckpointError: a file is missing or damaged.
        ConfigError: the config holds a value that cannot work.
    """
    if part == GENERATOR and weights is None and (folder / GENERATOR_FILE).is_file():
        weights = GENERATOR_FILE
    file = read_tensors(folder, weights=weights)
    found = choose_part(file.tensors, part)
    if config is None:
        data, name = _read_config(folder, file)
        if found.name is None and Path(file.file).name == GENERATOR_FILE:
            found.name = GENERATOR
        config = config_of(data, found, name)
    return sort_tensors(found, config, file=file.file, format=file.format)


def config_of(data: Mapping[str, Any], part: Part, file: str) -> DebertaConfig:
    """The config of one model, where the file leaves to its tensors what it does not say.

    Microsoft's configs do not say which layout the weights have, and a release's config is the
    discriminator's, also where the tensors are the shallower generator's.

    Args:
        data: the content of config.json, or of the config of a pair.
        part: the tensors.
        file: how messages call the config.
    """
    content = dict(data)
    of_part = data.get(part.name or DISCRIMINATOR)
    if isinstance(of_part, Mapping):
        own = {key: value for key, value in data.items() if key not in PARTS}
        content = {**own, **of_part}
    if content.get("model_type") is None:
        fused = any(_is_only_in(name, FUSED_ENCODER_NAMES) for name in part.tensors)
        content["model_type"] = FUSED_MODEL_TYPE if fused else DebertaV2Config.model_type
    n_layers = _count_layers(part.tensors)
    if part.name == GENERATOR and n_layers:
        content["num_hidden_layers"] = n_layers
    return DebertaConfig.from_dict(content, file)


def sort_tensors(part: Part, config: DebertaConfig, *, file: str, format: str) -> Checkpoint:
    """Encoder here, heads there, and a reason or a fault for everything else."""
    if _OLD_BUFFER in part.tensors:
        part.ignore(_OLD_BUFFER, "the numbers 0, 1, 2, ... of older versions")
    for name in _TABLE_NORM:
        if name in part.tensors and not config.relative_attention:
            part.ignore(name, "the norm of a table that relative_attention=false leaves out")
    heads = take_heads(part, config)
    with unfilled():
        wanted = to_file(DebertaEncoder(config).state_dict(), config)
    fitting = {
        name: tensor
        for name, tensor in part.tensors.items()
        if name in wanted and tensor.shape == wanted[name].shape
    }
    return Checkpoint(
        config=config,
        file=file,
        format=format,
        encoder=to_modules(fitting, config),
        heads=heads,
        ignored=part.ignored,
        faults=[*part.faults, *_encoder_faults(part, wanted, config)],
        tasks=find_tasks(config, heads),
    )


def _encoder_faults(part: Part, wanted: Mapping[str, Tensor], config: DebertaConfig) -> list[str]:
    """Names without a place, missing names and wrong shapes; or the one reason for all of them."""
    table = encoder_names(config)
    other = ENCODER_NAMES if table is FUSED_ENCODER_NAMES else FUSED_ENCODER_NAMES
    foreign = [name for name in part.tensors if _is_only_in(name, other)]
    if foreign and not any(_is_only_in(name, table) for name in part.tensors):
        return [
            f"'{part.origins[foreign[0]]}' and {len(foreign) - 1} more tensors have the layout of "
            f"another model_type than config.json's '{config.model_type}'"
        ]
    faults = [
        f"'{part.origins[name]}' has no place in the encoder of config.json"
        for name in part.tensors
        if name not in wanted
    ]
    n_layers = _count_layers(part.tensors)
    if 0 < n_layers < config.num_hidden_layers:
        faults.append(
            f"there are {n_layers} layers, expected num_hidden_layers={config.num_hidden_layers} "
            "of config.json"
        )
        wanted = {name: tensor for name, tensor in wanted.items() if _layer(name) < n_layers}
    return faults + shape_faults(wanted, part.tensors, {})


def _read_config(folder: Path, file: TensorFile) -> tuple[Mapping[str, Any], str]:
    """The config and its name: Microsoft's may lie in a file of its own or in the weights' file."""
    path = folder / MICROSOFT_CONFIG_FILE
    if not (folder / CONFIG_FILE).is_file():
        if path.is_file():
            return read_object(path), str(path)
        if file.model_config is not None:
            return file.model_config, f"{file.file}, 'config'"
    return read_config(folder), str(folder / CONFIG_FILE)


def _is_only_in(name: str, table: dict[str, str]) -> bool:
    """Whether a name belongs to one of the two layouts alone, and to this one."""
    both = (rename(name, ENCODER_NAMES), rename(name, FUSED_ENCODER_NAMES))
    return None in both and rename(name, table) is not None


def _count_layers(names: Mapping[str, Tensor]) -> int:
    return max((_layer(name) + 1 for name in names), default=0)


def _layer(name: str) -> int:
    """Number of the layer that a tensor belongs to; -1 outside the layers."""
    match = _LAYER.match(name)
    return int(match[1]) if match else -1
