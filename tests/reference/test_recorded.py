"""Equality with `transformers`, as recorded by tests/reference/record_cases.py."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spacy_deberta.encoder import PATHS
from tests.reference import ours
from tests.reference.case import RECORDED_FILE, Case, read_cases
from tests.reference.parity import TOLERANCE

FOLDERS = sorted(Path(__file__).parent.glob("transformers-*"))
CASES = {case.name: (folder, case) for parent in FOLDERS for folder, case in read_cases(parent)}
OVERFLOW = CASES.pop("overflow")  # saturated: its gradients are rounding errors
RECORDED = pytest.mark.parametrize(("folder", "case"), CASES.values(), ids=CASES)


@pytest.mark.parametrize("path", sorted(PATHS))
@RECORDED
def test_outputs_loss_and_gradients_equal_transformers(folder: Path, case: Case, path: str) -> None:
    """Within 1e-5 on real rows; hidden states of every layer, probabilities, all parameters."""
    errors = ours.check(folder, case, attention=path)
    assert errors.largest <= TOLERANCE, errors


@RECORDED
def test_saved_files_hold_the_tensors_of_transformers(
    folder: Path, case: Case, tmp_path: Path
) -> None:
    """The same names and values, so that it reads our files as it reads its own."""
    ours.load(folder, case).save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    theirs = load_file(folder / "peer" / "model.safetensors")
    recorded = load_file(folder / RECORDED_FILE)
    assert saved.keys() <= theirs.keys()
    assert not ours.expected_gradients(recorded, saved).keys() - saved.keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in saved.items())


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_scores_that_fit_into_half_precision_stay_finite(dtype: torch.dtype, path: str) -> None:
    """`transformers` divides position scores after the product: there it overflows."""
    folder, case = OVERFLOW
    recorded = load_file(folder / RECORDED_FILE)
    assert not recorded["half.last_hidden_state"].isfinite().all()
    model = ours.load(folder, case, path)
    with torch.no_grad():
        expected = ours.run(model, case).last_hidden_state
        found = ours.run(model.to(dtype), case).last_hidden_state
    assert found.isfinite().all()
    assert (found.float() - expected).abs().max() < 64 * torch.finfo(dtype).eps


def test_the_recordings_cover_every_task_and_family() -> None:
    """A missing recording would make the comparisons above pass without comparing."""
    assert len(CASES) >= 23
    assert {(case.family, case.task) for _, case in CASES.values()} >= {
        ("v1", "masked-lm"),
        ("v1", "sequence"),
        ("v1", "tokens"),
        ("v1", "span"),
        ("v1", "choice"),
        ("v2", "model"),
        ("v2", "masked-lm"),
        ("v2", "sequence"),
        ("v2", "tokens"),
        ("v2", "span"),
        ("v2", "choice"),
    }
