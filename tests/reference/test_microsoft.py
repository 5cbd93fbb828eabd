"""Equality with Microsoft's own code, as recorded by tests/reference/record_microsoft.py."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import spacy_deberta
from spacy_deberta.checkpoints import build_encoder, fill_head, open_checkpoint
from spacy_deberta.heads import RecordHead, record_loss
from tests.reference import ours
from tests.reference.case import PEER_FOLDER, RECORDED_FILE, Case, read_cases
from tests.reference.parity import TOLERANCE

FOLDER = Path(__file__).parent / "microsoft-4d7fe0b"
CASES = {case.name: (folder, case) for folder, case in read_cases(FOLDER)}
CLASSES = {
    "masked-lm": "ForMaskedLM",
    "replaced": "ForReplacedTokenDetection",
    "ner": "ForTokenClassification",
}
DECODERS = {"mask-decoder": "emd", "mask-decoder-v1": "emd", "biased-input": "plain"}


def load(folder: Path, case: Case) -> Any:
    model_class = getattr(spacy_deberta, ours.PREFIXES[case.family] + CLASSES[case.task])
    return model_class.from_pretrained(folder / PEER_FOLDER)


def compared(case: Case, logits: Tensor) -> Tensor:
    """The logits that Microsoft's code gives a meaning: of targets, or of real pieces."""
    if case.task == "masked-lm":
        return logits[case.targets()["labels"] >= 0]
    return logits[case.arguments()["attention_mask"].bool()]


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", [name for name in CASES if name != "record"])
def test_logits_loss_and_gradients_equal_microsoft(name: str) -> None:
    """The layout is found in the weights, the mask decoder in the file and its config."""
    folder, case = CASES[name]
    recorded = load_file(folder / RECORDED_FILE)
    model = load(folder, case)
    assert getattr(model, "mask_decoder", None) == DECODERS.get(name)
    output = model(**case.arguments(), **case.targets())
    expected = recorded["output.logits"]
    if case.task != "masked-lm":
        expected = compared(case, expected)
    assert_close(compared(case, output.logits), expected)
    assert_close(output.loss, recorded["loss"])
    output.loss.backward()
    assert ours.gradient_error(model, recorded) <= TOLERANCE


@pytest.mark.parametrize("name", [name for name in CASES if name != "record"])
def test_models_of_microsoft_go_round(name: str, tmp_path: Path) -> None:
    """Read, saved in our form, and read again: positions of the mask decoder included."""
    folder, case = CASES[name]
    model = load(folder, case)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert getattr(again, "mask_decoder", None) == DECODERS.get(name)
    with torch.no_grad():
        found, expected = (m(**case.arguments(), **case.targets()) for m in (again, model))
    assert torch.equal(found.logits, expected.logits)


def test_record_head_equals_microsoft() -> None:
    folder, case = CASES["record"]
    recorded = load_file(folder / RECORDED_FILE)
    checkpoint = open_checkpoint(folder / PEER_FOLDER)
    encoder, head = build_encoder(checkpoint), RecordHead(checkpoint.config)
    fill_head(head, checkpoint, "record")
    inputs = case.arguments()
    keep, entities = inputs["attention_mask"].bool(), inputs["entities"]
    lengths = keep.sum(1)
    starts = lengths.cumsum(0) - lengths  # row of each sequence's first piece
    rows = torch.where(entities > 0, entities + starts[:, None, None], -1).flatten(0, 1)
    first = starts[:, None].expand(entities.shape[:2]).flatten()
    with torch.no_grad():
        hidden = encoder(inputs["input_ids"][keep], lengths.tolist()).last_hidden_state
        logits = head(hidden, hidden[first], rows)
    expected = recorded["output.logits"].flatten()
    assert_close(logits, expected)
    assert_close(record_loss(logits, case.targets()["labels"].flatten(), rows), recorded["loss"])


def test_the_recordings_cover_every_head() -> None:
    """A missing recording would make the comparisons above pass without comparing."""
    assert {(case.family, case.task) for _, case in CASES.values()} == {
        ("v1", "masked-lm"),
        ("v2", "masked-lm"),
        ("v2", "ner"),
        ("v2", "record"),
        ("v2", "replaced"),
    }
