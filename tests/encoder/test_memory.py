"""Memory that a pass has freed serves the next one."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import torch
from spacy_deberta.encoder.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in range(8, 28):  # MiB; each block is freed before the next, larger one
    torch.ones(size * 2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(how: str) -> int:
    """Fresh pages for blocks of 8 to 27 MiB, one after the other: 89,600 if none served twice."""
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")
def test_blocks_take_the_pages_of_those_before_them() -> None:
    assert count_faults("kept") < 30_000
    assert count_faults("as it comes") > 80_000
