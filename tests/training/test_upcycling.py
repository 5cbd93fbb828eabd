"""A BERT as a DeBERTa: the same numbers at first, then free to learn."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError, ConfigError, TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.upcycling import upcycle_encoder
from spacy_deberta.training.vocabulary import load_old_tokenizer, replace_vocabulary

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu",
    "max_position_embeddings": 140,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}
WEIGHTS = "model.safetensors"


def bert_tensors() -> dict[str, Tensor]:
    """Random weights under BERT's names."""
    generator = torch.Generator().manual_seed(0)
    width, inner = 8, 12
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (30, width),
        "embeddings.position_embeddings.weight": (140, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
        "pooler.dense.weight": (width, width),
    }
    for number in range(2):
        layer = f"encoder.layer.{number}"
        for name, n_out, n_in in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes[f"{layer}.{name}.weight"] = (n_out, n_in)
            shapes[f"{layer}.{name}.bias"] = (n_out,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{layer}.{name}.weight"] = shapes[f"{layer}.{name}.bias"] = (width,)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def bert_forward(weights: dict[str, Tensor], ids: list[int]) -> Tensor:
    """BERT by its paper, for one sequence of segment 0."""

    def dense(name: str, rows: Tensor) -> Tensor:
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, rows: Tensor) -> Tensor:
        centered = rows - rows.mean(1, keepdim=True)
        unit = centered / (centered.square().mean(1, keepdim=True) + 1e-12).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    rows = weights["embeddings.word_embeddings.weight"][ids]
    rows = rows + weights["embeddings.position_embeddings.weight"][: len(ids)]
    rows = rows + weights["embeddings.token_type_embeddings.weight"][0]
    rows = norm("embeddings.LayerNorm", rows)
    for number in range(2):
        layer = f"encoder.layer.{number}"
        projected = {
            name: dense(f"{layer}.attention.self.{name}", rows)
            for name in ("query", "key", "value")
        }
        contexts = []
        for head in (slice(0, 4), slice(4, 8)):
            scores = projected["query"][:, head] @ projected["key"][:, head].T / math.sqrt(4)
            contexts.append(scores.softmax(1) @ projected["value"][:, head])
        attended = dense(f"{layer}.attention.output.dense", torch.cat(contexts, 1))
        rows = norm(f"{layer}.attention.output.LayerNorm", rows + attended)
        inner = dense(f"{layer}.intermediate.dense", rows)
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        rows = norm(f"{layer}.output.LayerNorm", rows + dense(f"{layer}.output.dense", inner))
    return rows


def write_bert(folder: Path) -> Path:
    """A BERT checkpoint with its WordPiece vocabulary."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(BERT))
    save_file(bert_tensors(), folder / WEIGHTS)
    old_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_upcycled_encoder_computes_what_the_bert_did(bert_folder: Path, prefix: str) -> None:
    tensors = bert_tensors()
    save_file({prefix + name: t for name, t in tensors.items()}, bert_folder / WEIGHTS)
    encoder = upcycle_encoder(bert_folder)
    assert not encoder.training
    ids = torch.randint(0, 30, (12,)).tolist()
    found = encoder(torch.tensor(ids), [1, 7, 4]).last_hidden_state
    expected = [bert_forward(tensors, part) for part in (ids[:1], ids[1:8], ids[8:])]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=0)


def test_upcycling_does_not_change_the_file_and_draws_the_table(bert_folder: Path) -> None:
    before = (bert_folder / WEIGHTS).read_bytes()
    encoder = upcycle_encoder(bert_folder)
    with torch.no_grad():
        encoder.embeddings.positions.weight.zero_()
    assert (bert_folder / WEIGHTS).read_bytes() == before
    assert encoder.table.rows.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not encoder.table.norm.weight.any()


def test_the_position_table_comes_alive_with_the_first_step(bert_folder: Path) -> None:
    encoder = upcycle_encoder(bert_folder)
    hidden = encoder(torch.arange(9), [9]).last_hidden_state
    (hidden * torch.randn_like(hidden)).sum().backward()
    assert encoder.table.norm.weight.grad is not None
    assert encoder.table.norm.weight.grad.any()


def test_a_roberta_counts_positions_from_behind_its_padding(bert_folder: Path) -> None:
    tensors = bert_tensors()
    config = {**BERT, "model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1}
    (bert_folder / "config.json").write_text(json.dumps(config))
    named = {"roberta." + name: tensor for name, tensor in tensors.items()}
    save_file({**named, "lm_head.bias": torch.ones(30)}, bert_folder / WEIGHTS)
    encoder = upcycle_encoder(bert_folder)
    positions = "embeddings.position_embeddings.weight"
    assert encoder.config.max_position_embeddings == 138
    ids = torch.randint(0, 30, (12,)).tolist()
    found = encoder(torch.tensor(ids), [12]).last_hidden_state
    expected = bert_forward({**tensors, positions: tensors[positions][2:]}, ids)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_another_architecture_is_refused(bert_folder: Path) -> None:
    (bert_folder / "config.json").write_text(json.dumps({**BERT, "model_type": "xlnet"}))
    message = rf"^{bert_folder}: model_type='xlnet' is not supported; expected 'bert' or 'roberta'"
    with pytest.raises(CheckpointError, match=message):
        upcycle_encoder(bert_folder)


def test_a_setting_that_cannot_work_is_named_with_its_file(bert_folder: Path) -> None:
    (bert_folder / "config.json").write_text(json.dumps({**BERT, "hidden_act": "gelu_new"}))
    message = rf"^{bert_folder / 'config.json'}: hidden_act='gelu_new' is not supported"
    with pytest.raises(ConfigError, match=message):
        upcycle_encoder(bert_folder)


def test_missing_wrong_and_unknown_tensors_are_listed_together(bert_folder: Path) -> None:
    """Nothing is left at random."""

    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors["encoder.layer.1.output.dense.bias"]
        tensors["embeddings.LayerNorm.bias"] = torch.ones(3)
        tensors["encoder.layer.0.attention.self.distance_embedding.weight"] = torch.ones(3)

    with pytest.raises(CheckpointError) as caught:
        upcycle_encoder(rewrite(bert_folder, damage))
    message = str(caught.value)
    assert message.startswith(f"{bert_folder / WEIGHTS}: ")
    assert "distance_embedding.weight' has no place in a DeBERTa encoder" in message
    assert "'encoder.layer.1.output.dense.bias' is missing" in message
    assert "'embeddings.LayerNorm.bias' has shape (3,), expected (8,)" in message


@pytest.mark.parametrize("name", ["position_embeddings", "token_type_embeddings"])
def test_positions_and_segments_must_both_be_there(bert_folder: Path, name: str) -> None:
    rewrite(bert_folder, lambda tensors: tensors.pop(f"embeddings.{name}.weight"))
    with pytest.raises(CheckpointError, match=r"expected 'embeddings.token_type.*' of one width"):
        upcycle_encoder(bert_folder)


# --- another vocabulary --------------------------------------------------------------------------


OLD_PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the river ##s old ##er . , ' Paris Warsaw ##a ##b A 1 9 ##9"
)


def old_tokenizer(pieces: str = OLD_PIECES) -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(pieces.split())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture
def replaced(
    bert_folder: Path, tiny_tokenizer: UnigramTokenizer
) -> tuple[DebertaEncoder, DebertaEncoder]:
    """The upcycled encoder, and the same over the tiny vocabulary."""
    encoder = upcycle_encoder(bert_folder)
    return encoder, replace_vocabulary(encoder, old_tokenizer(), tiny_tokenizer)


def test_special_pieces_keep_their_rows(
    replaced: tuple[DebertaEncoder, DebertaEncoder], tiny_tokenizer: UnigramTokenizer
) -> None:
    old, new = (encoder.embeddings.pieces.weight for encoder in replaced)
    numbers = [
        tiny_tokenizer.pad_id,
        tiny_tokenizer.unk_id,
        tiny_tokenizer.cls_id,
        tiny_tokenizer.sep_id,
        tiny_tokenizer.mask_id,
    ]
    assert torch.equal(new[numbers], old[:5])


def test_a_new_row_is_the_mean_of_the_old_rows_of_its_text(
    replaced: tuple[DebertaEncoder, DebertaEncoder], tiny_tokenizer: UnigramTokenizer
) -> None:
    old, new = (encoder.embeddings.pieces.weight for encoder in replaced)
    vocabulary = {piece: number for number, piece in enumerate(OLD_PIECES.split())}
    expected = {
        "\u2581the": ["the"],
        "\u2581river": ["river"],
        "\u2581Paris": ["Paris"],
        "s": ["##s"],  # continues a word
        ".": ["."],
        "<0x41>": ["A"],  # the byte of a letter; no old piece continues a word with it
    }
    pieces = [tiny_tokenizer.piece(number) for number in range(tiny_tokenizer.n_pieces)]
    compared = 0
    for piece, parts in expected.items():
        if piece in pieces:
            rows = old[[vocabulary[part] for part in parts]]
            torch.testing.assert_close(new[pieces.index(piece)], rows.mean(0), msg=piece)
            compared += 1
    assert compared >= 5


def test_pieces_without_an_old_text_start_as_the_unknown_piece(
    replaced: tuple[DebertaEncoder, DebertaEncoder], tiny_tokenizer: UnigramTokenizer
) -> None:
    old, new = (encoder.embeddings.pieces.weight for encoder in replaced)
    pieces = [tiny_tokenizer.piece(number) for number in range(tiny_tokenizer.n_pieces)]
    for piece in ("\u2581", "<0xFF>"):
        torch.testing.assert_close(new[pieces.index(piece)], old[1], msg=piece)


def test_all_but_the_piece_table_stays_and_the_table_is_padded(
    replaced: tuple[DebertaEncoder, DebertaEncoder], tiny_tokenizer: UnigramTokenizer
) -> None:
    old, new = (encoder.state_dict() for encoder in replaced)
    table = new.pop("embeddings.pieces.weight")
    assert all(torch.equal(new[name], old[name]) for name in new)
    assert len(table) % 64 == 0
    assert 0 <= len(table) - tiny_tokenizer.n_pieces < 64
    config = replaced[1].config
    assert (config.vocab_size, config.pad_token_id) == (len(table), tiny_tokenizer.pad_id)


def test_an_old_vocabulary_without_mask_is_refused(
    bert_folder: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    old = old_tokenizer(OLD_PIECES.replace("[MASK] ", ""))
    with pytest.raises(TokenizerError, match=r"^the old vocabulary has no \[MASK\]"):
        replace_vocabulary(upcycle_encoder(bert_folder), old, tiny_tokenizer)


# --- a byte-level vocabulary ---------------------------------------------------------------------

BYTE_LEVEL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u0120", "t", "h", "e", "s", "."]
BYTE_LEVEL += ["th", "the", "\u0120the"]
MERGES = "#version: 0.2\nt h\nth e\n\u0120 the\n"


@pytest.fixture
def byte_level(tmp_path: Path) -> Tokenizer:
    numbered = {piece: number for number, piece in enumerate(BYTE_LEVEL)}
    folder = tmp_path / "byte-level"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(numbered))
    (folder / "merges.txt").write_text(MERGES)
    return load_old_tokenizer(folder)


def test_rows_come_from_a_byte_level_vocabulary_too(
    bert_folder: Path, byte_level: Tokenizer, tiny_tokenizer: UnigramTokenizer
) -> None:
    """A piece that begins a word begins with the space before it there."""
    encoder = upcycle_encoder(bert_folder)
    new = replace_vocabulary(encoder, byte_level, tiny_tokenizer).embeddings.pieces.weight
    old = encoder.embeddings.pieces.weight
    pieces = [tiny_tokenizer.piece(number) for number in range(tiny_tokenizer.n_pieces)]
    expected = {"\u2581the": "\u0120the", "s": "s", ".": ".", "\u2581": "<unk>"}
    for piece, part in expected.items():
        torch.testing.assert_close(new[pieces.index(piece)], old[BYTE_LEVEL.index(part)], msg=piece)
    specials = [tiny_tokenizer.cls_id, tiny_tokenizer.pad_id, tiny_tokenizer.sep_id]
    assert torch.equal(new[[*specials, tiny_tokenizer.mask_id]], old[[0, 1, 2, 4]])
