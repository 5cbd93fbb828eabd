"""The parity table's command on a part of its cases; the command itself runs them all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reference.parity import PEERS

pytestmark = [pytest.mark.reference, pytest.mark.slow]


@pytest.mark.parametrize("peer", PEERS)
def test_random_models_equal_the_peer(peer: str) -> None:
    """Other models than those of the printed table."""
    command = [sys.executable, "-m", "tests.reference.parity", "--cases", "36", "--seed", "1000"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, "--peers", peer],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
