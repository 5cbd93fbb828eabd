"""Weight files that lie, for the tests of hostile input: built by hand, never by a library."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spacy_deberta.checkpoints.files import read_tensors
from spacy_deberta.errors import CheckpointError

BIN = "pytorch_model.bin"
SAFE = "model.safetensors"
GIB = 2**30

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = b"\x80\x02"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"ctorch\nFloatStorage\n"
ORDERED = b"ccollections\nOrderedDict\n"


class Payload:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def safetensors_bytes(
    header: dict[str, Any] | bytes, data: bytes, length: int | None = None
) -> bytes:
    """A file with this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(
    start: int, end: int, shape: list[int] | None = None, dtype: str = "F32"
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


# --- pickles, instruction by instruction ---------------------------------------------------------


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def storage(count: int, key: str = "0", kind: bytes = FLOATS, tail: bytes = b"") -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + tail + b"tQ"


def tensor(count: int, sizes: Sequence[int], steps: Sequence[int], offset: int = 0) -> bytes:
    """A call of the rebuild function for a view of storage "0"."""
    arguments = storage(count) + number(offset) + numbers(sizes) + numbers(steps)
    return REBUILD + b"(" + arguments + b"\x89" + ORDERED + b")R" + b"tR"


def state(entries: bytes) -> bytes:
    """A dictionary from names and values on the stack."""
    return PROTOCOL + b"}(" + entries + b"u."


def zipped(
    pickled: bytes, data: bytes = b"\0" * 16, method: int = zipfile.ZIP_STORED, copies: int = 1
) -> bytes:
    """A file as `torch.save` writes it now, around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for _ in range(copies):
            archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3")
        archive.writestr("archive/data/0", data)
    return file.getvalue()


def old_format(pickled: bytes, data: bytes = b"\0" * 16) -> bytes:
    """A file as `torch.save` wrote it before 1.6, around any pickle."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, machine))
    count = struct.pack("<q", len(data) // 4)
    pickled = pickled.replace(b"tQ", b"NtQ")  # storages have one more part
    return head + pickled + pickle.dumps(["0"], 2) + count + data


def refusal(folder: Path, name: str, content: bytes) -> str:
    """What is said about a file with this content."""
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_tensors(folder, weights=name)
    assert str(folder / name) in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)
