"""Equality with TensorFlow's classes, as recorded by tests/reference/record_tensorflow.py."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spacy_deberta import modeling
from spacy_deberta.checkpoints.files import read_tensors

FOLDERS = sorted((Path(__file__).parent / "tensorflow-2.19.1").iterdir())
TOLERANCE = 1e-5


def load(folder: Path) -> modeling.DebertaPreTrainedModel:
    """The class that takes the place of the one that wrote the folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (name,) = config["architectures"]
    model: modeling.DebertaPreTrainedModel = getattr(modeling, name).from_pretrained(folder)
    return model


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_checkpoints_by_tensorflow_compute_the_same(folder: Path) -> None:
    recorded = load_file(folder / "recorded.safetensors")
    expected = recorded.pop("logits")
    with torch.no_grad():
        found = load(folder)(**{name: array.long() for name, array in recorded.items()}).logits
    if "masked-lm" in folder.name:
        real = recorded["attention_mask"].bool()
        found, expected = found[real], expected[real]
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_we_save_for_tensorflow_is_what_it_saved(folder: Path, tmp_path: Path) -> None:
    load(folder).save_pretrained(tmp_path, format="h5")
    saved, theirs = read_tensors(tmp_path).tensors, read_tensors(folder).tensors
    assert saved.keys() == theirs.keys()
    assert all(torch.equal(saved[name], theirs[name]) for name in theirs)
