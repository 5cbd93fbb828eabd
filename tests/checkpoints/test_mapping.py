"""Files that change while they are read, or after."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spacy_deberta.checkpoints.files import read_tensors
from spacy_deberta.checkpoints.mapping import MAP_VARIABLE, unchanged
from spacy_deberta.errors import CheckpointError

WEIGHTS = {"a": torch.arange(50_000.0), "b": torch.ones(3)}


@pytest.mark.parametrize(
    ("name", "write"),
    [("model.safetensors", save_file), ("pytorch_model.bin", torch.save)],
)
def test_a_file_read_as_a_whole_may_be_cut_short_later(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Callable[[dict[str, torch.Tensor], Path], None],
) -> None:
    write(WEIGHTS, tmp_path / name)
    monkeypatch.setenv(MAP_VARIABLE, "0")
    found = read_tensors(tmp_path).tensors
    os.truncate(tmp_path / name, 0)  # a mapped file would end the process here
    assert all(torch.equal(found[key], tensor) for key, tensor in WEIGHTS.items())


def test_the_variable_says_0_or_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    monkeypatch.setenv(MAP_VARIABLE, "no")
    with pytest.raises(CheckpointError, match=r"SPACY_DEBERTA_MMAP='no': expected 0 .* or 1"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("change", ["shorter", "longer", "replaced"])
def test_a_change_while_a_file_is_read_is_an_error(tmp_path: Path, change: str) -> None:
    path, other = tmp_path / "weights", tmp_path / "other"
    path.write_bytes(b"12345678")

    def read() -> None:
        with unchanged(path):
            if change == "replaced":
                other.write_bytes(b"12345678")
                other.replace(path)
            else:
                path.write_bytes(b"1234" if change == "shorter" else b"123456789")

    with pytest.raises(CheckpointError, match="weights: was changed while it was read"):
        read()
