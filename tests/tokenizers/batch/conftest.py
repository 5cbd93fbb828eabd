"""The public tokenizers with tiny vocabularies, of both families."""

import pytest

from spacy_deberta import DebertaTokenizer, DebertaV2Tokenizer
from tests.reference.tokenizer_api_cases import FOLDER


@pytest.fixture(scope="session")
def v1() -> DebertaTokenizer:
    return DebertaTokenizer.from_pretrained(FOLDER / "v1")


@pytest.fixture(scope="session")
def v2() -> DebertaV2Tokenizer:
    return DebertaV2Tokenizer.from_pretrained(FOLDER / "v2")


@pytest.fixture(params=["v1", "v2"])
def tokenizer(
    request: pytest.FixtureRequest, v1: DebertaTokenizer, v2: DebertaV2Tokenizer
) -> DebertaTokenizer:
    return {"v1": v1, "v2": v2}[request.param]
