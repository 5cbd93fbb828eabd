"""Equality with `transformers`, recorded by tests/reference/record_transformers.py."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spacy_deberta.checkpoints import encoder_tensors, load_encoder
from spacy_deberta.checkpoints.names import ENCODER_NAMES, rename
from spacy_deberta.encoder import PATHS

RECORDED = sorted((Path(__file__).parents[1] / "reference").glob("transformers-*/*"))


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_hidden_states_and_gradients_equal_transformers(folder: Path, path: str) -> None:
    """Within 1e-5 on real rows, forward and for the gradient of every parameter."""
    encoder = load_encoder(folder, attention=path)
    recorded = load_file(folder / "recorded.safetensors")
    mask = recorded["mask"].bool()
    output = encoder(recorded["ids"][mask], mask.sum(1).tolist())
    torch.testing.assert_close(
        output.last_hidden_state, recorded["hidden"], atol=1e-5, rtol=0, msg=lambda m: f"hidden {m}"
    )
    (output.last_hidden_state * recorded["direction"]).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None or name.startswith("table."), name
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    compared = 0
    for theirs in encoder_tensors(encoder):
        ours = rename(theirs, ENCODER_NAMES)
        expected = recorded[f"gradient.{theirs}"]
        found = gradients[str(ours)]
        found = torch.zeros_like(expected) if found is None else found
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(
            found, expected, atol=1e-5 * scale, rtol=0, msg=lambda m, n=theirs: f"{n} {m}"
        )
        compared += 1
    assert compared == sum(name.startswith("gradient.") for name in recorded)


def test_the_recording_covers_every_variant() -> None:
    """A missing recording would make the comparison above pass without comparing."""
    assert len(RECORDED) >= 12
