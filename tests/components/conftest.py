from pathlib import Path

import pytest

import tests.components.heads  # noqa: F401  (registers the factory "pull")
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import write_checkpoint


@pytest.fixture(scope="session")
def other_source(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: UnigramTokenizer
) -> Path:
    """Another checkpoint of the same shape."""
    return write_checkpoint(tmp_path_factory.mktemp("other"), tiny_tokenizer, seed=1)
