"""The fused matrix of version 1, and which names and shapes each layout writes."""

from typing import Any

import pytest
import torch

from spacy_deberta.checkpoints.layouts import (
    file_names,
    fuse_heads,
    split_heads,
    to_file,
    to_modules,
)
from spacy_deberta.checkpoints.names import rename
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from tests.tiny import tiny_config, tiny_v1_config

SELF = "encoder.layer.0.attention.self."

# What files of one layer hold, as the released ones spell it, with the shapes of a width of 16.
AROUND = {
    "embeddings.word_embeddings.weight": (512, 16),
    "embeddings.LayerNorm.weight": (16,),
    "embeddings.LayerNorm.bias": (16,),
    "encoder.layer.0.attention.output.dense.weight": (16, 16),
    "encoder.layer.0.attention.output.dense.bias": (16,),
    "encoder.layer.0.attention.output.LayerNorm.weight": (16,),
    "encoder.layer.0.attention.output.LayerNorm.bias": (16,),
    "encoder.layer.0.intermediate.dense.weight": (24, 16),
    "encoder.layer.0.intermediate.dense.bias": (24,),
    "encoder.layer.0.output.dense.weight": (16, 24),
    "encoder.layer.0.output.dense.bias": (16,),
    "encoder.layer.0.output.LayerNorm.weight": (16,),
    "encoder.layer.0.output.LayerNorm.bias": (16,),
}
FIRST = {
    **AROUND,
    "encoder.rel_embeddings.weight": (128, 16),
    f"{SELF}in_proj.weight": (48, 16),
    f"{SELF}q_bias": (16,),
    f"{SELF}v_bias": (16,),
    f"{SELF}pos_proj.weight": (16, 16),
    f"{SELF}pos_q_proj.weight": (16, 16),
    f"{SELF}pos_q_proj.bias": (16,),
}
SHARED = {
    **AROUND,
    "encoder.rel_embeddings.weight": (16, 16),
    "encoder.LayerNorm.weight": (16,),
    "encoder.LayerNorm.bias": (16,),
    f"{SELF}query_proj.weight": (16, 16),
    f"{SELF}query_proj.bias": (16,),
    f"{SELF}key_proj.weight": (16, 16),
    f"{SELF}key_proj.bias": (16,),
    f"{SELF}value_proj.weight": (16, 16),
    f"{SELF}value_proj.bias": (16,),
}
OWN = {
    **SHARED,
    f"{SELF}pos_key_proj.weight": (16, 16),
    f"{SELF}pos_key_proj.bias": (16,),
    f"{SELF}pos_query_proj.weight": (16, 16),
    f"{SELF}pos_query_proj.bias": (16,),
}
CONVOLUTION = {
    "encoder.conv.conv.weight": (16, 8, 3),
    "encoder.conv.conv.bias": (16,),
    "encoder.conv.LayerNorm.weight": (16,),
    "encoder.conv.LayerNorm.bias": (16,),
}
ALL_TABLES = {
    **SHARED,
    "embeddings.word_embeddings.weight": (512, 8),
    "embeddings.position_embeddings.weight": (64, 8),
    "embeddings.token_type_embeddings.weight": (2, 8),
    "embeddings.embed_proj.weight": (16, 8),
}
LAYOUTS: dict[str, tuple[DebertaConfig, dict[str, tuple[int, ...]]]] = {
    "v1": (tiny_v1_config(num_hidden_layers=1), FIRST),
    "v2-shared": (tiny_config(num_hidden_layers=1), SHARED),
    "v2-own": (tiny_config(num_hidden_layers=1, share_att_key=False), OWN),
    "v2-convolution": (
        tiny_config(num_hidden_layers=1, conv_kernel_size=3, conv_groups=2),
        SHARED | CONVOLUTION,
    ),
    "v2-tables": (
        tiny_config(
            num_hidden_layers=1, embedding_size=8, type_vocab_size=2, position_biased_input=True
        ),
        ALL_TABLES,
    ),
}


def random_state(config: DebertaConfig) -> dict[str, Any]:
    torch.manual_seed(0)
    return {name: torch.randn_like(t) for name, t in DebertaEncoder(config).state_dict().items()}


@pytest.mark.parametrize(("config", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_files_have_the_names_and_shapes_of_released_ones(
    config: DebertaConfig, expected: dict[str, tuple[int, ...]]
) -> None:
    tensors = to_file(random_state(config), config)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected


@pytest.mark.parametrize(("config", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_to_the_file_and_back_changes_no_bit(
    config: DebertaConfig, expected: dict[str, tuple[int, ...]]
) -> None:
    state = random_state(config)
    back = to_modules(to_file(state, config), config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize(("config", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_tensor_of_a_module_can_be_named_in_a_message(
    config: DebertaConfig, expected: dict[str, tuple[int, ...]]
) -> None:
    names = file_names(config)
    assert {rename(ours, names) for ours in random_state(config)} == set(expected)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_the_fused_matrix_is_laid_out_head_by_head(n_heads: int) -> None:
    """Row a * 3d + p * d + r of the file is row a * d + r of part p: query, key, value."""
    width = 8
    d = width // n_heads
    fused = torch.randn(3 * width, 5)
    parts = split_heads(fused, n_heads)
    for a in range(n_heads):
        for p in range(3):
            for r in range(d):
                assert torch.equal(parts[p][a * d + r], fused[a * 3 * d + p * d + r])
    assert torch.equal(fuse_heads(list(parts), n_heads), fused)


@pytest.mark.parametrize(
    ("config", "key", "query"),
    [
        (tiny_v1_config(), "pos_proj.weight", "pos_q_proj.weight"),
        (tiny_config(share_att_key=False), "pos_key_proj.weight", "pos_query_proj.weight"),
    ],
    ids=["v1", "v2"],
)
def test_position_projections_keep_their_sides(config: DebertaConfig, key: str, query: str) -> None:
    """They have the same shapes, so a swap would load."""
    state = random_state(config)
    tensors = to_file(state, config)
    assert torch.equal(tensors[SELF + key], state["layers.0.attention.position_key.weight"])
    assert torch.equal(tensors[SELF + query], state["layers.0.attention.position_query.weight"])


def test_projections_equal_those_of_the_fused_matrix() -> None:
    """As the first version computes them: one product, cut by heads, then the biases."""
    config = tiny_v1_config()
    tensors = to_file(random_state(config), config)
    encoder = DebertaEncoder(config)
    encoder.load_state_dict(to_modules(tensors, config))
    attention, rows = encoder.layers[0].attention, torch.randn(3, 16)
    product = (rows @ tensors[f"{SELF}in_proj.weight"].T).view(3, 2, 24)  # (N, A, 3d)
    query, key, value = (part.reshape(3, 16) for part in product.chunk(3, dim=-1))
    torch.testing.assert_close(attention.query(rows), query + tensors[f"{SELF}q_bias"])
    torch.testing.assert_close(attention.key(rows), key)
    torch.testing.assert_close(attention.value(rows), value + tensors[f"{SELF}v_bias"])
