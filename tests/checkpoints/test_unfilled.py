"""Modules without values."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from spacy_deberta.checkpoints import unfilled
from spacy_deberta.encoder import DebertaEncoder
from tests.tiny import tiny_config


def test_unfilled_modules_have_shapes_and_nothing_else() -> None:
    """No memory, and no numbers drawn: the next one is the same as without them."""
    state = torch.get_rng_state()
    with unfilled():
        encoder = DebertaEncoder(tiny_config(conv_kernel_size=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.is_meta for parameter in encoder.parameters())
    expected = DebertaEncoder(tiny_config(conv_kernel_size=3)).state_dict()
    assert {n: t.shape for n, t in encoder.state_dict().items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


def test_modules_are_initialized_again_afterwards() -> None:
    with unfilled():
        pass
    assert nn.Linear(4, 4).weight.any()


def test_loading_does_not_import_the_compiler_of_torch(tiny_source: Path) -> None:
    """It takes longer than all the rest, and 80 MB."""
    program = (
        "import sys; from spacy_deberta.checkpoints import load_encoder; "
        "from pathlib import Path; load_encoder(Path(sys.argv[1])); "
        "print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tiny_source)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
