"""Encoders to files and back: bit for bit, with every tensor accounted for."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from spacy_deberta.checkpoints import (
    encoder_from_bytes,
    encoder_to_bytes,
    load_encoder,
    save_encoder,
)
from spacy_deberta.encoder.scores import attend_plain
from spacy_deberta.errors import CheckpointError, ConfigError
from tests.checkpoints.encoders import (
    FILE,
    QUERY,
    WORDS,
    assert_same,
    make_encoder,
    make_head,
    rewrite,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "v1": {"first": True},
    "shared": {},
    "own-projections": {"share_att_key": False},
    "convolution": {"conv_kernel_size": 3, "conv_groups": 2},
    "no-relative": {"relative_attention": False, "norm_rel_ebd": "none"},
    "absolute": {"position_biased_input": True, "type_vocab_size": 2, "embedding_size": 8},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_encoder(make_encoder(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_folders_and_bytes_give_the_encoder_back_bit_for_bit(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    encoder = make_encoder(**changes)
    save_encoder(encoder, tmp_path / "new" / "folder")
    for loaded in (
        load_encoder(tmp_path / "new" / "folder"),
        encoder_from_bytes(encoder_to_bytes(encoder)),
    ):
        assert loaded.config == encoder.config
        assert not loaded.training
        assert all(parameter.requires_grad for parameter in loaded.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
        assert_same(loaded, encoder)
        pieces = torch.arange(9)
        output, expected = loaded(pieces, [4, 5]), encoder(pieces, [4, 5])
        assert torch.equal(output.last_hidden_state, expected.last_hidden_state)


def test_the_same_encoder_gives_the_same_bytes() -> None:
    assert encoder_to_bytes(make_encoder()) == encoder_to_bytes(make_encoder())


@pytest.mark.parametrize("path", ["plain", "auto"])
def test_the_attention_asked_for_is_built(folder: Path, path: str) -> None:
    from_folder = load_encoder(folder, attention=path)
    from_bytes = encoder_from_bytes(encoder_to_bytes(from_folder), attention=path)
    for encoder in (from_folder, from_bytes):
        assert (encoder.layers[0].attention.attend is attend_plain) == (path == "plain")


def test_files_carry_the_names_of_the_released_ones(folder: Path) -> None:
    assert {WORDS, QUERY, "encoder.rel_embeddings.weight"} <= set(load_file(folder / FILE))
    assert json.loads((folder / "config.json").read_text())["model_type"] == "deberta-v2"


def test_an_encoder_beside_a_head_carries_the_prefix_of_the_released_ones(tmp_path: Path) -> None:
    encoder = make_encoder()
    save_encoder(encoder, tmp_path, head=make_head(encoder))
    names = load_file(tmp_path / FILE).keys()
    assert {f"deberta.{WORDS}", "lm_predictions.lm_head.bias"} <= names
    assert all(name.startswith(("deberta.", "lm_predictions.lm_head.")) for name in names)


def test_files_with_the_prefix_load_without_a_head(folder: Path) -> None:
    def prefix(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors["deberta." + name] = tensors.pop(name)

    assert_same(load_encoder(rewrite(folder, prefix)), make_encoder())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_files_are_widened(tmp_path: Path, dtype: torch.dtype) -> None:
    encoder = make_encoder()
    save_encoder(encoder, tmp_path, dtype=dtype)
    assert {tensor.dtype for tensor in load_file(tmp_path / FILE).values()} == {dtype}
    assert_same(load_encoder(tmp_path), encoder.to(dtype).float())


def test_heads_and_old_buffers_are_left_aside(folder: Path) -> None:
    extra = {
        "pooler.dense.weight": torch.ones(2),
        "classifier.bias": torch.ones(2),
        "cls.predictions.bias": torch.ones(2),
        "lm_predictions.lm_head.bias": torch.ones(2),
        "mask_predictions.dense.weight": torch.ones(2),
        "deberta.embeddings.position_ids": torch.arange(4),
        "deberta.embeddings.word_embeddings._weight": torch.ones(2),
        "deberta.embeddings.position_embeddings.weight": torch.full((2,), float("nan")),
    }
    assert_same(
        load_encoder(rewrite(folder, lambda tensors: tensors.update(extra))), make_encoder()
    )


def test_all_faults_stand_in_one_message(folder: Path) -> None:
    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors[WORDS]
        tensors[QUERY] = torch.ones(16, 17)
        tensors["encoder.LayerNorm.bias"][3] = float("nan")
        tensors["encoder.conv.conv.weight"] = torch.ones(2)
        tensors["deberta.encoder.layer.2.output.dense.bias"] = torch.ones(16)
        tensors["deberta.encoder.LayerNorm.weight"] = torch.ones(16)

    with pytest.raises(CheckpointError) as caught:
        load_encoder(rewrite(folder, damage))
    assert str(caught.value) == (
        f"{folder / FILE}: "
        "'encoder.LayerNorm.weight' is there twice: 'deberta.encoder.LayerNorm.weight' and "
        "'encoder.LayerNorm.weight'; "
        "'deberta.encoder.layer.2.output.dense.bias' has no place in the encoder of config.json; "
        "'encoder.conv.conv.weight' has no place in the encoder of config.json; "
        "'embeddings.word_embeddings.weight' is missing; "
        "'encoder.layer.1.attention.self.query_proj.weight' has shape (16, 17), expected (16, 16) "
        "from config.json; "
        "'encoder.LayerNorm.bias' holds NaN or infinite values. "
        "Use the config.json saved with these weights, and a file that holds the whole encoder."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    def damage(tensors: dict[str, Tensor]) -> None:
        tensors[WORDS][3, 5] = value

    with pytest.raises(CheckpointError, match=r"word_embeddings.weight' holds NaN or infinite"):
        load_encoder(rewrite(folder, damage))


def test_large_finite_values_load(folder: Path) -> None:
    """Their sum overflows, they do not."""

    def enlarge(tensors: dict[str, Tensor]) -> None:
        tensors[WORDS][:] = 3e38

    assert load_encoder(rewrite(folder, enlarge)).embeddings.pieces.weight.isfinite().all()


def test_a_config_of_another_shape_is_refused_before_allocating(folder: Path) -> None:
    """A terabyte of weights by the config's word, in a file of kilobytes."""
    config = json.loads((folder / "config.json").read_text())
    huge = {"hidden_size": 65536, "vocab_size": 16_777_216, "embedding_size": 65536}
    (folder / "config.json").write_text(json.dumps({**config, **huge}))
    start = time.perf_counter()
    message = (
        r"'embeddings.word_embeddings.weight' has shape \(30, 16\), expected \(16777216, 65536\)"
    )
    with pytest.raises(CheckpointError, match=message):
        load_encoder(folder)
    assert time.perf_counter() - start < 2


def test_config_errors_name_the_file(folder: Path) -> None:
    (folder / "config.json").write_text('{"hidden_size": 10000000000}')
    message = rf"^{folder / 'config.json'}: hidden_size=10000000000 is not supported"
    with pytest.raises(ConfigError, match=message):
        load_encoder(folder)


def test_saving_over_the_folder_a_mapped_encoder_came_from(folder: Path) -> None:
    """The new file takes the old one's place; the model in memory keeps the old one's pages."""
    mapped = load_encoder(folder)
    save_encoder(mapped, folder)
    assert_same(mapped, make_encoder())
    with torch.no_grad():
        mapped.embeddings.pieces.weight.add_(1)
    save_encoder(mapped, folder)
    assert_same(load_encoder(folder), mapped)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", FILE]


def test_training_a_mapped_encoder_does_not_write_to_its_file(folder: Path) -> None:
    before = (folder / FILE).read_bytes()
    mapped = load_encoder(folder)
    with torch.no_grad():
        for parameter in mapped.parameters():
            parameter.add_(1)
    assert (folder / FILE).read_bytes() == before


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "found 0 bytes, expected a whole encoder"),
        (b"\x05\0\0", "found 3 bytes, expected a whole encoder"),
        ((2**63).to_bytes(8, "little"), "the config should end at byte 9223372036854775816"),
        ((2).to_bytes(8, "little") + b"[]", "found list, expected a JSON object"),
        ((2).to_bytes(8, "little") + b"{}", "damaged weights"),
        ((1).to_bytes(8, "little") + b"{", "is not JSON"),
    ],
)
def test_damaged_bytes_are_refused(data: bytes, fault: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^encoder bytes: {fault}"):
        encoder_from_bytes(data)


ENCODED = encoder_to_bytes(make_encoder(num_hidden_layers=1))


@settings(max_examples=60)
@given(st.integers(0, len(ENCODED) - 1))
def test_bytes_cut_anywhere_are_refused(end: int) -> None:
    with pytest.raises(CheckpointError, match=r"^encoder bytes: "):
        encoder_from_bytes(ENCODED[:end])


@settings(max_examples=150)
@given(st.integers(0, 3000), st.integers(1, 255))
def test_a_changed_byte_gives_an_encoder_or_our_own_error(place: int, change: int) -> None:
    """The config and the header stand within the first bytes."""
    data = bytearray(ENCODED)
    data[place] ^= change
    with suppress(CheckpointError, ConfigError):
        encoder_from_bytes(bytes(data))
