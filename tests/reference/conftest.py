"""The real checkpoint that some tests here read. It is not ours to ship; see CONTRIBUTING.md."""

import os
from pathlib import Path

import pytest

SOURCE_VARIABLE = "SPACY_DEBERTA_REAL_V3"


@pytest.fixture(scope="session")
def source() -> Path:
    """The folder of a real, fine-tuned DeBERTa-v3-xsmall."""
    if SOURCE_VARIABLE not in os.environ:
        pytest.fail(f"{SOURCE_VARIABLE} is not set: a folder with the checkpoint, see CONTRIBUTING")
    return Path(os.environ[SOURCE_VARIABLE])
