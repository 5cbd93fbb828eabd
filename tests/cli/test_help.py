"""Help answers at once: without torch, without spaCy."""

import subprocess
import sys

CHECK = """
import sys
from typer.testing import CliRunner
from spacy_deberta.cli import app
for command in ([], ["config"], ["debug-pieces"], ["migrate"], ["import"], ["export"]):
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
print(sorted({"torch", "spacy", "thinc"} & set(sys.modules)))
"""


def test_help_needs_neither_torch_nor_spacy() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
