"""Broken, lying and hostile weight files: one error class, nothing executed, nothing allocated.

The rows of the project's list of hostile inputs that speak of weights and folders.
"""

import io
import json
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from spacy_deberta.checkpoints.files import read_tensors
from spacy_deberta.errors import CheckpointError
from tests.checkpoints.broken import (
    BIN,
    SAFE,
    entry,
    refusal,
    safetensors_bytes,
    state,
    tensor,
    text,
    zipped,
)

# --- safetensors ---------------------------------------------------------------------------------

LYING = {
    "empty": b"",
    "shorter-than-the-length": b"\x08\0\0",
    "no-header": (0).to_bytes(8, "little"),
    "header-past-the-end": safetensors_bytes({}, b"", length=10**6),
    "header-of-2^63": safetensors_bytes({}, b"", length=2**63),
    "no-json": safetensors_bytes(b"not json", b""),
    "not-utf-8": safetensors_bytes(b"\xff\xfe\xff\xfe", b""),
    "a-list": safetensors_bytes(b"[]", b""),
    "deep": safetensors_bytes(b'{"a":' * 10_000, b""),
    "a-name-twice": safetensors_bytes(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b"\0" * 8,
    ),
    "data-cut": safetensors_bytes({"a": entry(0, 16)}, b"\0" * 12),
    "data-left-over": safetensors_bytes({"a": entry(0, 16)}, b"\0" * 20),
    "overlap": safetensors_bytes({"a": entry(0, 16), "b": entry(8, 24)}, b"\0" * 24),
    "hole": safetensors_bytes({"a": entry(0, 8), "b": entry(16, 24)}, b"\0" * 24),
    "negative": safetensors_bytes({"a": entry(-8, 8)}, b"\0" * 16),
    "backwards": safetensors_bytes({"a": entry(8, 0, [2])}, b"\0" * 8),
    "shape-against-length": safetensors_bytes({"a": entry(0, 16, [5])}, b"\0" * 16),
    "shape-overflows": safetensors_bytes({"a": entry(0, 16, [2**62, 2**62])}, b"\0" * 16),
    "unknown-dtype": safetensors_bytes({"a": entry(0, 16, dtype="F33")}, b"\0" * 16),
    "no-entry": safetensors_bytes({"a": 7}, b""),
    "offsets-as-text": safetensors_bytes(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}, b"\0" * 4
    ),
    "a-pickle": pickle.dumps({"a": 1}),
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING)
def test_damaged_or_lying_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    assert f"{SAFE}: is not a readable safetensors file (" in refusal(tmp_path, SAFE, content)


@pytest.mark.parametrize("shape", [[0], [4, 0], [-4], [2.0, 2], ["4"], [True], [1] * 9])
def test_shapes_that_no_weight_has_are_refused(tmp_path: Path, shape: list[Any]) -> None:
    content = safetensors_bytes({"a": entry(0, 16, shape)}, b"\0" * 16)
    assert "'a' has shape" in refusal(tmp_path, SAFE, content)


@pytest.mark.parametrize("name", ["", "a" * 513, "a" * 10**6, "a\nb", "a\0b", "\u202egnp"])
def test_names_that_no_tensor_has_are_refused(tmp_path: Path, name: str) -> None:
    header = {name: entry(0, 4)}
    assert "is no name of a tensor" in refusal(tmp_path, SAFE, safetensors_bytes(header, b"\0" * 4))
    content = zipped(state(text(name) + tensor(4, [4], [1])))
    assert "is no name of a tensor" in refusal(tmp_path, BIN, content)


def test_more_tensors_than_any_model_has_are_refused(tmp_path: Path) -> None:
    header = {str(place): entry(4 * place, 4 * place + 4) for place in range(20_001)}
    message = refusal(tmp_path, SAFE, safetensors_bytes(header, b""))
    assert "lists 20001 tensors, expected at most 20000" in message


def test_an_oversized_header_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / SAFE).open("wb") as file:
        file.write((5 * 2**20).to_bytes(8, "little"))
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match=r"a header of 5242880 bytes, expected 1 to 4194304"):
        read_tensors(tmp_path)


# --- shards --------------------------------------------------------------------------------------

OUTSIDE = [
    "../x.safetensors",
    "/etc/x.safetensors",
    "a/x.safetensors",
    "..",
    ".",
    "",
    ".x.safetensors",
    "C:\\x.safetensors",
    "C:x.safetensors",
    "\\\\server\\x.safetensors",
    "a\\x.safetensors",
    "a\0.safetensors",
    "x.bin",
    "model.safetensors.index.json",
    "x" * 5000 + ".safetensors",
]


def write_index(folder: Path, places: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "x.safetensors").write_bytes(save_safetensors({"a": torch.ones(2)}))
    index = write_index(folder, {"a": name})
    with pytest.raises(CheckpointError) as caught:
        read_tensors(folder)
    assert str(caught.value).startswith(f"{index}: ")
    assert len(str(caught.value)) < 500


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "x.safetensors").write_bytes(save_safetensors({"a": torch.ones(2)}))
    (folder / "x.safetensors").symlink_to(tmp_path / "x.safetensors")
    index = write_index(folder, {"a": "x.safetensors"})
    message = rf"^{index}: 'x.safetensors' is a link that leaves {folder}"
    with pytest.raises(CheckpointError, match=message):
        read_tensors(folder)
    (folder / "y.safetensors").write_bytes(save_safetensors({"a": torch.ones(2)}))
    (folder / "x.safetensors").unlink()
    (folder / "x.safetensors").symlink_to("y.safetensors")
    assert list(read_tensors(folder).tensors) == ["a"]


def test_links_inside_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "models--o--n" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    blobs = tmp_path / "models--o--n" / "blobs"
    blobs.mkdir()
    (blobs / "f00").write_bytes(save_safetensors({"a": torch.ones(2)}))
    (folder / "x.safetensors").symlink_to("../../blobs/f00")
    write_index(folder, {"a": "x.safetensors"})
    assert list(read_tensors(folder).tensors) == ["a"]


PLACES = {
    "not a dictionary": ["a"],
    "absent": None,
    "a number": {"a": 7},
    "no files": {},
    "too many files": {f"a{place}": f"{place}.safetensors" for place in range(1001)},
    "too many tensors": {f"a{place}": "x.safetensors" for place in range(20_001)},
    "a missing file": {"a": "x.safetensors", "b": "y.safetensors"},
    "another tensor": {"b": "x.safetensors"},
    "one tensor less": {"a": "x.safetensors"},
    "one tensor more": {name: "x.safetensors" for name in "abc"},
    "a folder": {"a": "x.safetensors", "c": "folder.safetensors"},
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path: Path, places: object) -> None:
    tensors = {"a": torch.ones(2), "b": torch.ones(2)}
    (tmp_path / "x.safetensors").write_bytes(save_safetensors(tensors))
    (tmp_path / "folder.safetensors").mkdir()
    write_index(tmp_path, places)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}/") as caught:
        read_tensors(tmp_path)
    assert len(str(caught.value)) < 500


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    good = save_safetensors({"a": torch.ones(2)})
    (tmp_path / "x.safetensors").write_bytes(good)
    (tmp_path / "y.safetensors").write_bytes(good[:-1])
    write_index(tmp_path, {"a": "x.safetensors", "b": "y.safetensors"})
    with pytest.raises(CheckpointError, match=r"y\.safetensors: is not a readable safetensors"):
        read_tensors(tmp_path)


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SAFE, f"{SAFE}.index.json", BIN, "tf_model.h5"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(CheckpointError, match=rf"^{path}: is not a regular file; expected the"):
        read_tensors(tmp_path)
    path.rmdir()
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=rf"^{path}: is not a regular file"):
        read_tensors(tmp_path)
    path.unlink()
    os.mkfifo(path)  # reading it would wait for a writer
    with pytest.raises(CheckpointError, match=rf"^{path}: is not a regular file"):
        read_tensors(tmp_path)


def test_a_file_that_cannot_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    for name in (SAFE, f"{SAFE}.index.json", BIN):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    for name in (SAFE, f"{SAFE}.index.json", BIN):
        with pytest.raises(CheckpointError, match="denied"):
            read_tensors(tmp_path, weights=name)
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(tmp_path)


# --- mutated files -------------------------------------------------------------------------------


def good_files() -> dict[str, bytes]:
    torch.manual_seed(0)
    tensors = {f"encoder.layer.{place}.weight": torch.randn(2, 3) for place in range(3)}
    files = {SAFE: save_safetensors(tensors, metadata={"format": "pt"})}
    for name, new in ((BIN, True), ("old.bin", False)):
        file = io.BytesIO()
        torch.save(tensors, file, _use_new_zipfile_serialization=new)
        files[name] = file.getvalue()
    return files


FILES = good_files()
PATCHES = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\xff" * 8, b"\0" * 8, (2**40).to_bytes(8, "little")]),
        ),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(patches=PATCHES, keep=st.one_of(st.none(), st.floats(0, 1)))
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, name: str, patches: list[tuple[int, bytes]], keep: float | None
) -> None:
    content = bytearray(FILES[name])
    for place, patch in patches:
        start = place % len(content)
        content[start : start + len(patch)] = patch
    if keep is not None:
        content = content[: int(keep * len(content))]
    (tmp_path / name).write_bytes(content)
    with suppress(CheckpointError):
        found = read_tensors(tmp_path, weights=name).tensors
        assert sum(value.nbytes for value in found.values()) <= 4 * len(content)
    (tmp_path / name).unlink()


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    content = FILES[name]
    for part in range(64):
        refusal(tmp_path, name, content[: part * len(content) // 64])
