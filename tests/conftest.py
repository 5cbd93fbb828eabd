"""Fixtures for all tests. The plain run opens no socket."""

import random
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tokenizers import ByteLevelBPETokenizer

from spacy_deberta.tokenizers import (
    BytePairTokenizer,
    UnigramTokenizer,
    load_tokenizer,
    train_unigram,
)
from spacy_deberta.tokenizers.bpe import parse_merges
from tests.tiny import write_checkpoint

# How long an example takes depends on what else the machine does.
settings.register_profile("any-load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-load")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

TINY_TEXT = """
the a one two some every old new small large quick quiet river mountain harbour teacher painter
village station letter window garden winter summer evening morning crossed opened painted wrote
found followed remembered carried slowly early again together between under behind near without
Marie Curie Paris Warsaw London don't can't it's well-known 1903 1911 café naïve Straße señor
"""


def tiny_texts() -> list[str]:
    """A thousand sentences of the tiny text's words."""
    rng = random.Random(0)
    words = TINY_TEXT.split()
    return [" ".join(rng.choices(words, k=12)) + rng.choice(".!?;") for _ in range(1000)]


@pytest.fixture(scope="session")
def tiny_spm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spm.model and its settings: 350 pieces in the layout of v3."""
    folder = tmp_path_factory.mktemp("tiny-spm")
    train_unigram(tiny_texts(), n_pieces=350).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_spm_folder: Path) -> UnigramTokenizer:
    tokenizer = load_tokenizer(tiny_spm_folder)
    assert isinstance(tokenizer, UnigramTokenizer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_v1_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BytePairTokenizer:
    """512 byte-level pieces in the layout of v1."""
    trainer = ByteLevelBPETokenizer()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    trainer.train_from_iterator(
        tiny_texts(), vocab_size=511, special_tokens=specials, show_progress=False
    )
    folder = tmp_path_factory.mktemp("tiny-bpe")
    trainer.save_model(str(folder))
    merges = parse_merges((folder / "merges.txt").read_bytes(), "merges.txt")
    return BytePairTokenizer({**trainer.get_vocab(), "[MASK]": 511}, merges)


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: UnigramTokenizer) -> Path:
    """A checkpoint folder: two layers, width 16, random weights, the tiny vocabulary."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny-checkpoint"), tiny_tokenizer)


@pytest.fixture(scope="session")
def v3_tokenizer() -> UnigramTokenizer:
    """The released vocabulary; only for tests marked `shared`."""
    tokenizer = load_tokenizer(SHARED_DATA / "tokenizers" / "deberta-v3")
    assert isinstance(tokenizer, UnigramTokenizer)
    return tokenizer


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid connections to other machines, and looking them up, outside `network` tests."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            pytest.fail(f"a test without the mark `network` connects to {address}")
        connect(self, address)

    def refuse_lookup(host: Any, *_: Any, **__: Any) -> None:
        pytest.fail(f"a test without the mark `network` looks up {host}")

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_locally)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_lookup)
