"""Encoders with random weights, and files that a test changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.heads import MaskedLMHead
from tests.tiny import tiny_config, tiny_v1_config

FILE = "model.safetensors"
WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.1.attention.self.query_proj.weight"


def make_encoder(*, first: bool = False, **changes: Any) -> DebertaEncoder:
    """Random biases and norms too: at their initial values, a swap passes unnoticed."""
    torch.manual_seed(0)
    config = tiny_v1_config if first else tiny_config
    encoder = DebertaEncoder(config(vocab_size=30, **changes)).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


def make_head(encoder: DebertaEncoder) -> MaskedLMHead:
    head = MaskedLMHead(encoder.config).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head


def assert_same(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """Change the tensors of a folder's file."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / FILE).items()}
    change(tensors)
    save_file(tensors, folder / FILE)
    return folder
