"""A BERT-like encoder as a DeBERTa that computes the same, and then can learn more.

Disentangled attention divides by sqrt(3) more and adds two position terms. With the relative
table's norm at weight 0 and bias 0 every table row is zero, so a position key is the key bias and a
position query the query bias: the c2p term is constant over keys and falls out of the softmax, the
p2c term adds the query bias's share once more. Query weights times sqrt(3) and query biases times
sqrt(3) / 2 give back the old scores. The norm's weight gets gradients, so the table comes alive.

Absolute positions stay in the input; the row of segment 0 is added to them. RoBERTa counts its
positions from behind its padding piece: the rows before that are never read, and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacy_deberta.checkpoints.accounting import fill_module
from spacy_deberta.checkpoints.files import CONFIG_FILE, read_config, read_tensors
from spacy_deberta.checkpoints.names import inverted, rename
from spacy_deberta.checkpoints.unfilled import unfilled
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError

_SEGMENTS = "embeddings.token_type_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_FAMILIES = {"bert": "bert.", "roberta": "roberta."}  # model_type, prefix of the encoder's names
_OTHER_PARTS = ("pooler.", "cls.", "lm_head.", "classifier.")

BERT_NAMES = {
    "embeddings.word_embeddings.weight": "embeddings.pieces.weight",
    "embeddings.position_embeddings.weight": "embeddings.positions.weight",
    "embeddings.LayerNorm.weight": "embeddings.norm.weight",
    "embeddings.LayerNorm.bias": "embeddings.norm.bias",
    "encoder.layer.{}.attention.self.query.weight": "layers.{}.attention.query.weight",
    "encoder.layer.{}.attention.self.query.bias": "layers.{}.attention.query.bias",
    "encoder.layer.{}.attention.self.key.weight": "layers.{}.attention.key.weight",
    "encoder.layer.{}.attention.self.key.bias": "layers.{}.attention.key.bias",
    "encoder.layer.{}.attention.self.value.weight": "layers.{}.attention.value.weight",
    "encoder.layer.{}.attention.self.value.bias": "layers.{}.attention.value.bias",
    "encoder.layer.{}.attention.output.dense.weight": "layers.{}.attention_output.dense.weight",
    "encoder.layer.{}.attention.output.dense.bias": "layers.{}.attention_output.dense.bias",
    "encoder.layer.{}.attention.output.LayerNorm.weight": "layers.{}.attention_output.norm.weight",
    "encoder.layer.{}.attention.output.LayerNorm.bias": "layers.{}.attention_output.norm.bias",
    "encoder.layer.{}.intermediate.dense.weight": "layers.{}.intermediate.weight",
    "encoder.layer.{}.intermediate.dense.bias": "layers.{}.intermediate.bias",
    "encoder.layer.{}.output.dense.weight": "layers.{}.output.dense.weight",
    "encoder.layer.{}.output.dense.bias": "layers.{}.output.dense.bias",
    "encoder.layer.{}.output.LayerNorm.weight": "layers.{}.output.norm.weight",
    "encoder.layer.{}.output.LayerNorm.bias": "layers.{}.output.norm.bias",
}


def upcycle_encoder(folder: Path) -> DebertaEncoder:
    """The DebertaEncoder that computes what the BERT or RoBERTa encoder in this folder does.

    Args:
        folder: config.json and model.safetensors of a post-norm BERT-like encoder.

    Raises:
        CheckpointError: another architecture, or a tensor is missing or has no place.
    """
    bert = read_config(folder)
    family = bert.get("model_type")
    if family not in _FAMILIES:
        expected = " or ".join(map(repr, _FAMILIES))
        raise CheckpointError(
            f"{folder}: model_type={family!r} is not supported; expected {expected}."
        )
    skipped = bert.get("pad_token_id", 1) + 1 if family == "roberta" else 0
    config = DebertaConfig.from_dict(_deberta_config(bert, skipped), str(folder / CONFIG_FILE))
    weights = read_tensors(folder)
    file = weights.file
    bare = {n.removeprefix(_FAMILIES[family]): tensor for n, tensor in weights.tensors.items()}
    found, misplaced = {}, []
    for name, tensor in sorted(_one_segment(bare, skipped, file).items()):
        ours = rename(name, BERT_NAMES)
        if ours is not None:
            found[ours] = _scaled(ours, tensor)
        elif not name.startswith(_OTHER_PARTS):
            misplaced.append(f"'{name}' has no place in a DeBERTa encoder")
    found["table.rows.weight"] = config.initializer_range * torch.randn(
        config.table_rows, config.hidden_size
    )
    found["table.norm.weight"] = torch.zeros(config.hidden_size)
    found["table.norm.bias"] = torch.zeros(config.hidden_size)
    with unfilled():
        encoder = DebertaEncoder(config)
    fill_module(encoder, found, file=file, names=inverted(BERT_NAMES), misplaced=misplaced)
    return encoder


def _one_segment(bare: Mapping[str, Tensor], skipped: int, file: str) -> dict[str, Tensor]:
    """The row of segment 0 added to every absolute position, but for the first ones."""
    segments, positions = bare.get(_SEGMENTS), bare.get(_POSITIONS)
    if segments is None or positions is None or segments[:1].shape[1:] != positions.shape[1:]:
        raise CheckpointError(f"{file}: expected '{_SEGMENTS}' and '{_POSITIONS}' of one width.")
    kept = {name: tensor for name, tensor in bare.items() if name != _SEGMENTS}
    return {**kept, _POSITIONS: positions[skipped:] + segments[0]}


def _deberta_config(bert: Mapping[str, Any], skipped_positions: int) -> dict[str, Any]:
    kept = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "layer_norm_eps",
        "initializer_range",
        "pad_token_id",
    )
    n_positions = bert.get("max_position_embeddings", 512) - skipped_positions
    return {
        **{key: bert[key] for key in kept if key in bert},
        "model_type": "deberta-v2",
        "max_position_embeddings": n_positions,
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": "c2p|p2c",
        "position_buckets": min(256, n_positions // 2),
        "max_relative_positions": -1,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": True,
    }


def _scaled(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("attention.query.weight"):
        return tensor * math.sqrt(3)
    if name.endswith("attention.query.bias"):
        return tensor * (math.sqrt(3) / 2)
    return tensor
