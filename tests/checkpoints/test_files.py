"""config.json and model.safetensors as files: broken, lying or hostile ones are refused."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from spacy_deberta.checkpoints.files import (
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from spacy_deberta.errors import CheckpointError


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder


# --- config.json ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"a": NaN}', r"is not JSON \(NaN is no JSON number\)"),
        (b'{"a": [-Infinity]}', r"is not JSON \(-Infinity is no JSON number\)"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', r"is not JSON \(the key 'c' stands there twice\)"),
        (b'{"a": ' + b"9" * 10**5 + b"}", "is not JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, r"is not JSON \(nested more than 64 deep\)"),
        (b"[" * 10**5, "is not JSON"),
        (b"[1, 2]", "found list, expected a JSON object"),
        (b'"text"', "found str, expected a JSON object"),
        (b"null", "found NoneType, expected a JSON object"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    write(tmp_path, "config.json", content)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'config.json'}: {fault}"):
        read_config(tmp_path)


def test_a_config_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**10)  # a hole: takes no space
    message = r"has 10000000000 bytes, expected at most 4194304\.$"
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    message = rf"^{tmp_path}: holds no config\.json; expected a checkpoint folder"
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    write(tmp_path, "config.json", b'\xef\xbb\xbf{"a": 1}')
    assert read_config(tmp_path) == {"a": 1}


def test_numbers_and_texts_of_a_config_survive(tmp_path: Path) -> None:
    content = {"eps": 1e-12, "share": 0.1234567890123456, "text": "naïve ▁", "none": None}
    write_config(tmp_path, content)
    assert read_config(tmp_path) == content
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


# --- model.safetensors ---------------------------------------------------------------------------


def safetensors_file(
    header: dict[str, Any] | bytes, data: bytes, length: int | None = None
) -> bytes:
    """The bytes of a file with this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(
    start: int, end: int, shape: list[int] | None = None, dtype: str = "F32"
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


LYING = {
    "empty": b"",
    "shorter-than-the-length": b"\x08\0\0",
    "no-header": (0).to_bytes(8, "little"),
    "header-past-the-end": safetensors_file({}, b"", length=10**6),
    "header-of-2^63": safetensors_file({}, b"", length=2**63),
    "no-json": safetensors_file(b"not json", b""),
    "not-utf-8": safetensors_file(b"\xff\xfe\xff\xfe", b""),
    "a-list": safetensors_file(b"[]", b""),
    "deep": safetensors_file(b'{"a":' * 10_000, b""),
    "data-cut": safetensors_file({"a": entry(0, 16)}, b"\0" * 12),
    "data-left-over": safetensors_file({"a": entry(0, 16)}, b"\0" * 20),
    "overlap": safetensors_file({"a": entry(0, 16), "b": entry(8, 24)}, b"\0" * 24),
    "hole": safetensors_file({"a": entry(0, 8), "b": entry(16, 24)}, b"\0" * 24),
    "negative": safetensors_file({"a": entry(-8, 8)}, b"\0" * 16),
    "backwards": safetensors_file({"a": entry(8, 0, [2])}, b"\0" * 8),
    "shape-against-length": safetensors_file({"a": entry(0, 16, [5])}, b"\0" * 16),
    "shape-overflows": safetensors_file({"a": entry(0, 16, [2**62, 2**62])}, b"\0" * 16),
    "unknown-dtype": safetensors_file({"a": entry(0, 16, dtype="F33")}, b"\0" * 16),
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING)
def test_damaged_or_lying_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "model.safetensors", content)
    message = rf"^{tmp_path / 'model.safetensors'}: is not a readable safetensors file \("
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path)


def test_an_oversized_header_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write((2**30).to_bytes(8, "little"))
        file.truncate(2**31)  # a hole: takes no space
    message = r"\(a header of 1073741824 bytes, expected 1 to 16777216\)"
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path)


class Trap:
    """Leaves a trace when it is unpickled."""

    touched = False

    def __reduce__(self) -> Any:
        return (setattr, (Trap, "touched", True))


def test_pickles_under_the_name_of_safetensors_are_refused_unopened(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="Only safetensors files are read"):
        read_weights(tmp_path)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="Only safetensors files are read"):
        read_weights(tmp_path)
    assert not Trap.touched


def test_weights_in_any_other_file_are_not_looked_at(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    message = rf"^{tmp_path}: holds no model\.safetensors; expected the weights there"
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.tensor([1.5, -0.25, 3.0])
    save_file({"a": tensor.to(dtype)}, tmp_path / "model.safetensors")
    read = read_weights(tmp_path)
    assert read["a"].dtype == torch.float32
    assert torch.equal(read["a"], tensor)


def test_tensors_that_are_no_weights_are_refused_all_at_once(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(2, dtype=torch.int64),
        "b": torch.ones(2),
        "c": torch.ones(2, dtype=torch.bool),
        "embeddings.position_ids": torch.arange(3),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    message = r"expected floating-point tensors, found a \(torch.int64\), c \(torch.bool\)\.$"
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path)


def test_writing_leaves_one_file_and_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    write_weights(tmp_path, {"a": torch.ones(2, 3).t()})
    mapped = read_weights(tmp_path)
    write_weights(tmp_path, {"a": torch.zeros(3, 2)})
    assert torch.equal(mapped["a"], torch.ones(3, 2))
    shared = torch.zeros(2)
    with pytest.raises(RuntimeError):
        write_weights(tmp_path, {"a": shared, "b": shared})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert torch.equal(read_weights(tmp_path)["a"], torch.zeros(3, 2))
