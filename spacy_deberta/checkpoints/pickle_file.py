"""One PyTorch file (.bin): scanned first, then read by PyTorch's loader for weights only.

`pickle_scan` refuses whatever a state dict does not need, by name, and whatever the file does not
hold. What passes goes to `torch.load(weights_only=True)`, which has its own list and no fallback.
Nothing found in a file is imported.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from spacy_deberta.checkpoints.entries import MAX_TENSORS, check_names, count_values, show
from spacy_deberta.checkpoints.mapping import is_mapped, unchanged
from spacy_deberta.checkpoints.pickle_scan import ForbiddenError, ScanError, scan
from spacy_deberta.errors import CheckpointError

CONFIG_ENTRY = "config"  # Microsoft's training code keeps the model's settings among the weights

_MAGIC = 0x1950A86A20F9469CFC6C  # first number of a file from before the zip format
_LEADING_PICKLES = 2  # before the weights of such a file: the format's version, the machine
_COUNT_BYTES = 8  # in such a file, before the values of each storage
_MAX_PICKLE_BYTES = 4 * 2**20  # 0.1 MiB for 48 layers
_MAX_SHARING = 4  # times that tensors may show the file's bytes: tied tables and their copies
_MAX_DIRECTORY_BYTES = 128 * MAX_TENSORS  # of a zip: 46 and the name for every record
_MAX_CONFIG_PARTS = 10_000
_MAX_LISTED = 10  # entries in a message
_TAIL_BYTES = 2**16 + 98  # where the end of a zip is looked for: a comment, 22 and 76 bytes


@dataclass(frozen=True, eq=False)
class PickleContent:
    """Tensors of a file, and Microsoft's `config` entry where it has one."""

    tensors: dict[str, Tensor]
    model_config: Mapping[str, Any] | None


def read_pickle(path: Path) -> PickleContent:
    """The tensors of a file that `torch.save` wrote, memory-mapped unless it is very old.

    Raises:
        CheckpointError: damaged, or it needs more than tensors.
    """
    try:
        mapped = is_mapped()
        with unchanged(path):
            with path.open("rb") as file:
                zipped = file.read(4) == b"PK\3\4"
                file.seek(0)
                scan_file = _scan_zip if zipped else _scan_old
                scan_file(file, path)
            content = torch.load(
                path, weights_only=True, mmap=zipped and mapped, map_location="cpu"
            )
        return _checked(content, path)
    except CheckpointError:
        raise
    except ForbiddenError as error:
        raise _needs_more(path, str(error)) from error
    except ScanError as error:
        raise _refusal(path, str(error)) from error
    except Exception as error:  # damaged instructions raise whatever they stumble over
        raise _refusal(path, show(str(error) or type(error).__name__)) from error


def _scan_zip(file: IO[bytes], path: Path) -> None:
    size = path.stat().st_size
    _check_directory(file, size, path)
    with zipfile.ZipFile(file) as archive:
        records = {record.filename: record.file_size for record in archive.infolist()}
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED or record.file_size > size:
                raise _refusal(path, f"its record {record.filename!r} is compressed or too large")
        pickles = [name for name in records if name.endswith("/data.pkl")]
        if len(records) != len(archive.infolist()) or len(pickles) != 1:
            raise _refusal(path, "a record is there twice, or there is no data.pkl")
        if records[pickles[0]] > _MAX_PICKLE_BYTES:
            raise _refusal(path, f"its data.pkl has {records[pickles[0]]} bytes")
        storages = scan(io.BytesIO(archive.read(pickles[0]))).storages
    folder = pickles[0].removesuffix(".pkl")
    for storage in storages:
        found = records.get(f"{folder}/{storage.key}")
        if found != storage.size:
            raise _refusal(
                path, f"its storage {storage.key!r} has {found} bytes, expected {storage.size}"
            )


def _check_directory(file: IO[bytes], size: int, path: Path) -> None:
    """Refuse a list of records that is longer than any honest one, before it is read."""
    file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0:
        raise _refusal(path, "the end of the archive is missing")
    (length,) = struct.unpack_from("<L", tail, end + 12)
    large = tail[max(end - 76, 0) : end]  # the large format's own end, and where it is
    if large[-20:].startswith(b"PK\6\7"):
        (length,) = struct.unpack_from("<Q", large, 40)
    if length > _MAX_DIRECTORY_BYTES:
        raise _refusal(path, f"its list of records has {length} bytes")


def _scan_old(file: IO[bytes], path: Path) -> None:
    """Scan the pickles of a file from before the zip format, up to the weights' bytes."""
    pickles = io.BytesIO(file.read(_MAX_PICKLE_BYTES))
    if scan(pickles).result != _MAGIC:
        raise _refusal(path, "it was not written by torch.save")
    for _ in range(_LEADING_PICKLES):
        scan(pickles)
    storages = scan(pickles).storages
    scan(pickles)  # the keys of the storages
    wanted = pickles.tell() + sum(_COUNT_BYTES + storage.size for storage in storages)
    found = path.stat().st_size
    if wanted != found:
        raise _refusal(path, f"its tensors end at byte {wanted}, found {found} bytes")


def _checked(content: object, path: Path) -> PickleContent:
    """Names to tensors, each within the file's bytes."""
    if not isinstance(content, dict):
        raise _needs_more(path, f"a {type(content).__name__}")
    entries = dict(content)
    model_config = entries.pop(CONFIG_ENTRY, None)
    if model_config is not None and not _is_plain(model_config):
        raise _needs_more(path, f"{CONFIG_ENTRY!r} as a {type(model_config).__name__}")
    wrong = [
        f"{show(name)} ({type(entry).__name__})"
        for name, entry in entries.items()
        if not isinstance(name, str) or not isinstance(entry, Tensor)
    ]
    if wrong:
        raise _needs_more(path, ", ".join(wrong[:_MAX_LISTED]))
    check_names(entries, str(path))
    bytes_shown = sum(
        count_values(tuple(tensor.shape), name, str(path)) * tensor.element_size()
        for name, tensor in entries.items()
    )
    if bytes_shown > _MAX_SHARING * path.stat().st_size:
        raise _refusal(path, "its tensors show the same bytes many times")
    dense = {name: entry.detach().contiguous() for name, entry in entries.items()}
    return PickleContent(dense, model_config)


def _is_plain(config: object) -> bool:
    """A dictionary of JSON's types, of a size that can be printed."""
    parts, seen = [config], 0
    while parts and seen + len(parts) < _MAX_CONFIG_PARTS:
        part, seen = parts.pop(), seen + 1
        if isinstance(part, dict):
            parts += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            parts += part
        elif not isinstance(part, str | int | float | None):
            return False
    return not parts and isinstance(config, dict)


def _needs_more(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: needs {show(what)}, expected names and tensors only; nothing in it was run. Load "
        "it where you trust its author, save model.state_dict() with safetensors, and use that."
    )


def _refusal(path: Path, fault: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: is not a readable PyTorch file ({fault}). Save or download it again, best as "
        "safetensors."
    )
