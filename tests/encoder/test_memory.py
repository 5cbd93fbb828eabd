"""Memory that a pass has freed serves the next one."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from spacy_deberta.encoder import DebertaEncoder
from tests.tiny import tiny_config

torch.manual_seed(0)
encoder = DebertaEncoder(tiny_config(hidden_size=512, intermediate_size=2048)).eval()
ids = torch.randint(1, 10, (1024,))
with torch.inference_mode():
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        encoder(ids, [64] * 16)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")
def test_a_later_pass_needs_next_to_no_fresh_memory() -> None:
    """Page faults of the fourth pass: some 4,000 if nothing were kept."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300
