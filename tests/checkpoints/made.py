"""Tensors of tiny checkpoints, and folders of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spacy_deberta.checkpoints import (
    DISCRIMINATOR,
    Checkpoint,
    state_tensors,
)
from spacy_deberta.checkpoints.checkpoint import sort_tensors
from spacy_deberta.checkpoints.parts import choose_part
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder

Tensors = dict[str, Tensor]

WORDS = "embeddings.word_embeddings.weight"
DELTA = "embeddings.word_embeddings._weight"
POSITIONS = "embeddings.position_embeddings.weight"
SELF = "encoder.layer.0.attention.self."
FILE = "model.safetensors"
DECODER = "cls.predictions.decoder.weight"


def random_state(module: nn.Module) -> Tensors:
    return {name: torch.randn_like(tensor) for name, tensor in module.state_dict().items()}


def make_tensors(config: DebertaConfig, **heads: Any) -> Tensors:
    """A file's tensors, with heads by kind: their classes."""
    torch.manual_seed(0)
    states = {kind: random_state(module(config)) for kind, module in heads.items()}
    return state_tensors(config, random_state(DebertaEncoder(config)), states)


def write(folder: Path, config: Mapping[str, Any] | DebertaConfig, tensors: Tensors) -> Path:
    content = config.to_dict() if isinstance(config, DebertaConfig) else dict(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / FILE)
    return folder


def sort(config: DebertaConfig, tensors: Tensors, part: str = DISCRIMINATOR) -> Checkpoint:
    """What `open_checkpoint` does, without a folder."""
    return sort_tensors(choose_part(tensors, part), config, file="file", format="bytes")


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
