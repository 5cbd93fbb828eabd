"""Reading and writing the files of a checkpoint folder: bytes and tensors, no model."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from spacy_deberta.errors import CheckpointError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

_MAX_CONFIG_BYTES = 4 * 2**20  # a config.json is a few kilobytes; label lists make it grow
_MAX_CONFIG_DEPTH = 64  # objects within objects
_MAX_HEADER_BYTES = 16 * 2**20  # a file with 48 layers has 0.1 MiB
_HEADER_LENGTH = 8  # bytes of the number in front of the header
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        CheckpointError: missing, too large, or not a JSON object.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no {CONFIG_FILE}; expected a checkpoint folder.")
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise CheckpointError(
            f"{path}: has {path.stat().st_size} bytes, expected at most {_MAX_CONFIG_BYTES}."
        )
    return parse_config(path.read_bytes(), str(path))


def parse_config(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object from bytes; `name` stands in the message."""
    try:
        content = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
        )
        _check_depth(content, _MAX_CONFIG_DEPTH)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: is not JSON ({error}).") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise CheckpointError(f"{name}: found {found}, expected a JSON object.")
    return content


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} stands there twice")
        content[key] = value
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _check_depth(content: object, room: int) -> None:
    if not isinstance(content, dict | list):
        return
    if not room:
        raise ValueError(f"nested more than {_MAX_CONFIG_DEPTH} deep")
    for part in content.values() if isinstance(content, dict) else content:
        _check_depth(part, room - 1)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of model.safetensors, memory-mapped; half precision is widened to float32.

    Raises:
        CheckpointError: missing or damaged file, tensors that are not floating-point.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no {WEIGHTS_FILE}; expected the weights there.")
    _check_header(path)
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: is not a readable safetensors file ({error}).") from error
    return widen(tensors, str(path))


def _check_header(path: Path) -> None:
    """Refuse a header that is longer than the file or than any honest one, before reading it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
    room = min(path.stat().st_size - _HEADER_LENGTH, _MAX_HEADER_BYTES)
    if not 0 < length <= room:
        raise CheckpointError(
            f"{path}: is not a readable safetensors file (a header of {length} bytes, expected 1 "
            f"to {max(room, 0)}). Only safetensors files are read; PyTorch's own are not."
        )


def widen(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Floating-point tensors as float32; integer buffers of old files are kept out."""
    wrong = [f"{key} ({tensor.dtype})" for key, tensor in tensors.items() if not _weight(tensor)]
    wrong = [entry for entry in wrong if "position_ids" not in entry]
    if wrong:
        raise CheckpointError(f"{name}: expected floating-point tensors, found {', '.join(wrong)}.")
    return {key: tensor.float() for key, tensor in tensors.items() if _weight(tensor)}


def _weight(tensor: Tensor) -> bool:
    return tensor.dtype in _FLOATS


def dump_config(content: Mapping[str, Any]) -> str:
    """A config.json as text; srsly would round small numbers such as layer_norm_eps to zero."""
    return json.dumps(dict(content), indent=2, ensure_ascii=False) + "\n"


def write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """Write config.json, replacing it as a whole."""
    text = dump_config(content)
    replace_file(folder / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write model.safetensors, replacing it as a whole.

    A new file takes the old one's place: a model that is memory-mapped from the old file goes on
    reading it, also when a pipeline is saved over the folder it was loaded from.
    """
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(
        folder / WEIGHTS_FILE,
        lambda path: safetensors.torch.save_file(dense, path, metadata={"format": "pt"}),
    )


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Write beside the target, then move into its place; nothing is left behind on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    path = Path(name)
    try:
        write(path)
        path.chmod(0o644)
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)
