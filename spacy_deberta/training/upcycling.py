"""A BERT-like encoder as a DeBERTa that computes the same, and then can learn more.

Disentangled attention divides by sqrt(3) more and adds two position terms. With the relative
table's norm at weight 0 and bias 0 every table row is zero, so a position key is the key bias and a
position query the query bias: the c2p term is constant over keys and falls out of the softmax, the
p2c term adds the query bias's share once more. Query weights times sqrt(3) and query biases times
sqrt(3) / 2 give back the old scores. The norm's weight gets gradients, so the table comes alive.

Absolute positions stay in the input; the row of segment 0 is added to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from spacy_deberta.checkpoints.accounting import fill_module
from spacy_deberta.checkpoints.files import CONFIG_FILE, read_config, read_tensors
from spacy_deberta.checkpoints.names import inverted, rename
from spacy_deberta.checkpoints.unfilled import unfilled
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError, TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer

_SEGMENTS = "embeddings.token_type_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_ASCII = 128  # characters whose single byte is their text

ROW_MULTIPLE = 64  # rows; the piece table is padded to a multiple, for aligned matrix products

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
    """The DebertaEncoder that computes what the BERT encoder in this folder does.

    Args:
        folder: config.json and model.safetensors of a post-norm BERT-like encoder.

    Raises:
        CheckpointError: not a BERT, or a tensor is missing or has no place.
    """
    bert = read_config(folder)
    if bert.get("model_type") != "bert":
        found = bert.get("model_type")
        raise CheckpointError(f"{folder}: model_type={found!r} is not supported; expected 'bert'.")
    config = DebertaConfig.from_dict(_deberta_config(bert), str(folder / CONFIG_FILE))
    weights = read_tensors(folder)
    file = weights.file
    found, misplaced = {}, []
    for name, tensor in sorted(_one_segment(weights.tensors, file).items()):
        ours = rename(name, BERT_NAMES)
        if ours is not None:
            found[ours] = _scaled(ours, tensor)
        elif not name.startswith(("pooler.", "cls.")):
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


def load_wordpiece(folder: Path) -> Tokenizer:
    """The WordPiece tokenizer of a BERT-like checkpoint, without padding and truncation.

    Raises:
        TokenizerError: the folder holds no tokenizer.json.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(f"{folder}: holds no tokenizer.json; expected the old vocabulary.")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def replace_vocabulary(
    encoder: DebertaEncoder, old: Tokenizer, new: UnigramTokenizer
) -> DebertaEncoder:
    """The same encoder over another vocabulary.

    A new row is the mean of the old rows of its text: a piece that begins a word as the old
    tokenizer cuts that word, any other as it cuts the rest of a word ("##..."). Special pieces keep
    their rows; what has no old rows, bytes for example, starts as [UNK].

    Args:
        encoder: with the old vocabulary.
        old: the old WordPiece tokenizer.
        new: the new one.

    Raises:
        TokenizerError: the old vocabulary lacks a special piece.
    """
    rows = encoder.embeddings.pieces.weight.detach()
    size = -(-new.n_pieces // ROW_MULTIPLE) * ROW_MULTIPLE
    table = rows[_special_id(old, "[UNK]")].repeat(size, 1)
    specials = {
        new.pad_id: "[PAD]",
        new.cls_id: "[CLS]",
        new.sep_id: "[SEP]",
        new.unk_id: "[UNK]",
        new.mask_id: "[MASK]",
    }
    for number in range(new.n_pieces):
        if number in specials:
            table[number] = rows[_special_id(old, specials[number])]
            continue
        ids = _old_ids(new.piece(number), old)
        if ids:
            table[number] = rows[torch.tensor(ids)].mean(0)
    config = replace(encoder.config, vocab_size=size, pad_token_id=new.pad_id)
    replaced = DebertaEncoder(config)
    replaced.load_state_dict({**encoder.state_dict(), "embeddings.pieces.weight": table})
    return replaced.eval()


def _one_segment(weights: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """Bare names, and the row of segment 0 added to every absolute position."""
    bare = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    segments, positions = bare.pop(_SEGMENTS, None), bare.get(_POSITIONS)
    if segments is None or positions is None or segments[:1].shape[1:] != positions.shape[1:]:
        raise CheckpointError(f"{file}: expected '{_SEGMENTS}' and '{_POSITIONS}' of one width.")
    return {**bare, _POSITIONS: positions + segments[0]}


def _deberta_config(bert: Mapping[str, Any]) -> dict[str, Any]:
    kept = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "max_position_embeddings",
        "layer_norm_eps",
        "initializer_range",
        "pad_token_id",
    )
    return {
        **{key: bert[key] for key in kept if key in bert},
        "model_type": "deberta-v2",
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": "c2p|p2c",
        "position_buckets": 256,
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


def _special_id(old: Tokenizer, piece: str) -> int:
    number = old.token_to_id(piece)
    if number is None:
        raise TokenizerError(f"the old vocabulary has no {piece}; expected BERT's special pieces.")
    return number


def _old_ids(piece: str, old: Tokenizer) -> Sequence[int]:
    """Old ids of a new piece's text; none for a bare word marker."""
    text = piece.removeprefix("\u2581")
    if piece.startswith("<0x") and piece.endswith(">"):
        value = int(piece[3:-1], 16)
        text = chr(value) if value < _ASCII else ""  # a lone byte of a longer character has no text
    if not text.strip():
        return []
    if piece.startswith("\u2581"):
        return _known(old.encode(text, add_special_tokens=False).ids, old)
    exact = old.token_to_id("##" + text)
    if exact is not None:
        return [exact]
    # "a" begins a word of its own; what the old tokenizer adds after it continues that word
    start = len(old.encode("a", add_special_tokens=False).ids)
    continued = old.encode("a" + text, add_special_tokens=False)
    if len(continued.ids) > start and continued.tokens[0] == "a":
        return _known(continued.ids[start:], old)
    return _known(old.encode(text, add_special_tokens=False).ids, old)


def _known(ids: Sequence[int], old: Tokenizer) -> list[int]:
    unknown = old.token_to_id("[UNK]")
    return [number for number in ids if number != unknown]
