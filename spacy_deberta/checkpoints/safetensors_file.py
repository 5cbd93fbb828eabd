"""One safetensors file: its header is checked against the file before the library maps it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from spacy_deberta.checkpoints import h5_names
from spacy_deberta.checkpoints.entries import check_names, count_values, show
from spacy_deberta.checkpoints.json_file import MAX_JSON_BYTES, parse_object
from spacy_deberta.checkpoints.mapping import is_mapped, unchanged
from spacy_deberta.errors import CheckpointError

_METADATA = "__metadata__"
_LENGTH_BYTES = 8  # of the number in front of the header
_ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, memory-mapped unless `mapping` says otherwise, as they stand there.

    A file that TensorFlow wrote (metadata "format": "tf") has its own names and layouts; they are
    undone here.

    Raises:
        CheckpointError: the header lies, or asks for what no model needs, or the file changes.
    """
    try:
        with unchanged(path):
            header, room = _read_header(path)
            _check_header(header, room, path)
            metadata = header.get(_METADATA)
            tensors = _load(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _refusal(path, str(error)) from error
    by_tensorflow = isinstance(metadata, dict) and metadata.get("format") == "tf"
    return h5_names.to_torch(tensors, str(path)) if by_tensorflow else tensors


def _load(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = (
        safetensors.torch.load_file(path)
        if is_mapped()
        else safetensors.torch.load(path.read_bytes())
    )
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file; no two tensors may share memory."""
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(dense, path, metadata={"format": "pt"})


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, unless it is longer than the file or than any honest one; bytes after it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        rest = path.stat().st_size - _LENGTH_BYTES
        room = min(rest, MAX_JSON_BYTES)
        if not 0 < length <= room:
            raise _refusal(path, f"a header of {length} bytes, expected 1 to {max(room, 0)}")
        data = file.read(length)
    try:
        return parse_object(data, "its header"), rest - length
    except CheckpointError as error:
        raise _refusal(path, str(error)) from error


def _check_header(header: dict[str, Any], room: int, path: Path) -> None:
    """The tensors must fill the room behind the header, one after the other."""
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    check_names(entries, str(path))
    spans = sorted((_span(name, entry, path), name) for name, entry in entries.items())
    end = 0
    for (start, stop), name in spans:
        if start != end:
            raise _refusal(path, f"{show(name)} starts at byte {start}, expected {end}")
        end = stop
    if end != room:
        raise _refusal(path, f"its tensors have {end} bytes, found {room}")


def _span(name: str, entry: object, path: Path) -> tuple[int, int]:
    """First and last byte of one tensor, which must fit its shape."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            raise _refusal(path, f"{show(name)} has the entry {show(entry)}")
    if dtype not in _ITEM_BYTES:
        raise _refusal(path, f"{show(name)} has the type {show(dtype)}")
    wanted = count_values(shape, name, str(path)) * _ITEM_BYTES[dtype]
    if start < 0 or stop - start != wanted:
        found = f"bytes {show(start)} to {show(stop)}"
        raise _refusal(path, f"{show(name)} has {found}, expected {show(wanted)} bytes")
    return start, stop


def _refusal(path: Path, fault: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: is not a readable safetensors file ({fault}). Save or download it again."
    )
