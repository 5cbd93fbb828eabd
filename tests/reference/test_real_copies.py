"""Copies of a real checkpoint in every format are read as the same model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spacy_deberta.modeling import DebertaV2ForSequenceClassification

N_SHARDS = 3
HALF_TOLERANCE = 5e-3  # of logits up to 5; weights that are rounded to half precision

pytestmark = [pytest.mark.reference, pytest.mark.slow]


def write_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    """Three files, each with every third tensor, and their index."""
    names = sorted(tensors)
    places = {}
    for number in range(N_SHARDS):
        part = names[number::N_SHARDS]
        file = f"model-{number + 1:05}-of-{N_SHARDS:05}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def write_bin(tensors: dict[str, Tensor], folder: Path) -> None:
    torch.save(tensors, folder / "pytorch_model.bin")


def write_h5(tensors: dict[str, Tensor], folder: Path) -> None:
    """By our own writer; TensorFlow's files are compared in tests/checkpoints."""
    save_file(tensors, folder / "model.safetensors")
    model = DebertaV2ForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, format="h5")


def write_half(tensors: dict[str, Tensor], folder: Path) -> None:
    save_file({name: t.half() for name, t in tensors.items()}, folder / "model.safetensors")


def write_half_bin(tensors: dict[str, Tensor], folder: Path) -> None:
    write_bin({name: tensor.half() for name, tensor in tensors.items()}, folder)


@pytest.fixture(scope="module")
def original(source: Path) -> DebertaV2ForSequenceClassification:
    return DebertaV2ForSequenceClassification.from_pretrained(source)


@pytest.mark.parametrize("write", [write_shards, write_bin, write_h5, write_half, write_half_bin])
def test_copies_hold_the_same_model(
    source: Path,
    original: DebertaV2ForSequenceClassification,
    tmp_path: Path,
    write: Callable[[dict[str, Tensor], Path], None],
) -> None:
    """Bit for bit; in half precision, the weights rounded once and computed with in float32."""
    shutil.copy(source / "config.json", tmp_path)
    write(load_file(source / "model.safetensors"), tmp_path)
    copy = DebertaV2ForSequenceClassification.from_pretrained(tmp_path)
    half = write in (write_half, write_half_bin)
    for name, expected in original.state_dict().items():
        found = copy.state_dict()[name]
        assert found.dtype == torch.float32, name
        assert torch.equal(found, expected.half().float() if half else expected), name
    ids = [entry["ids"] for entry in json.loads((source / "reference.json").read_text("utf-8"))]
    with torch.inference_mode():
        for row in ids:
            found, expected = (model(torch.tensor([row])).logits for model in (copy, original))
            tolerance = HALF_TOLERANCE if half else 0
            torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
