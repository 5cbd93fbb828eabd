"""config.json in all its public spellings, and every value that is refused."""

import copy
import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.config import ACTIVATIONS, DebertaConfig
from spacy_deberta.encoder.layer import ACTIVATION_FUNCTIONS
from spacy_deberta.errors import ConfigError
from tests.tiny import tiny_config

V3_BASE = {
    "model_type": "deberta-v2",
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 0,
    "vocab_size": 128100,
    "pooler_hidden_size": 768,
    "pooler_dropout": 0,
    "pooler_hidden_act": "gelu",
}


def read(**changes: Any) -> DebertaConfig:
    return DebertaConfig.from_dict({**V3_BASE, **changes})


def test_v3_base_is_read() -> None:
    config = read()
    assert config.position_terms == ("c2p", "p2c")
    assert (config.max_relative_positions, config.position_buckets) == (512, 256)
    assert (config.head_width, config.table_rows) == (64, 512)
    assert config.score_scale == pytest.approx(1 / (64 * 3) ** 0.5)
    assert config.embedding_size == 768
    assert config.position_norm
    assert config.share_position_projections
    assert not config.position_biased_input


def test_absent_keys_have_the_public_defaults() -> None:
    config = DebertaConfig.from_dict({})
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (1536, 24, 128_100)
    assert config == DebertaConfig()
    assert (config.position_terms, config.position_buckets) == ((), None)
    assert config.position_biased_input
    assert not config.relative_attention


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("pos_att_type", "c2p|p2c", "position_terms", ("c2p", "p2c")),
        ("pos_att_type", "P2C | c2p", "position_terms", ("c2p", "p2c")),
        ("pos_att_type", ["p2c", "c2p"], "position_terms", ("c2p", "p2c")),
        ("pos_att_type", ["C2P"], "position_terms", ("c2p",)),
        ("pos_att_type", "p2c", "position_terms", ("p2c",)),
        ("pos_att_type", [], "position_terms", ()),
        ("pos_att_type", None, "position_terms", ()),
        ("norm_rel_ebd", "layer_norm", "position_norm", True),
        ("norm_rel_ebd", "Layer_Norm", "position_norm", True),
        ("norm_rel_ebd", "layer_norm|none", "position_norm", True),
        ("norm_rel_ebd", "none", "position_norm", False),
        ("norm_rel_ebd", None, "position_norm", False),
        ("position_buckets", -1, "position_buckets", None),
        ("position_buckets", 0, "position_buckets", None),
        ("position_buckets", None, "position_buckets", None),
        ("position_buckets", 32, "position_buckets", 32),
        ("max_relative_positions", -1, "max_relative_positions", 512),
        ("max_relative_positions", 0, "max_relative_positions", 512),
        ("max_relative_positions", 300, "max_relative_positions", 300),
        ("embedding_size", None, "embedding_size", 768),
        ("embedding_size", 128, "embedding_size", 128),
        ("layer_norm_eps", 0, "layer_norm_eps", 0.0),
        ("hidden_act", "swish", "hidden_act", "swish"),
        ("attention_head_size", 64, "hidden_size", 768),
        ("conv_kernel_size", 0, "hidden_size", 768),
        ("talking_head", False, "hidden_size", 768),
    ],
)
def test_spellings(key: str, value: object, field: str, expected: object) -> None:
    assert getattr(read(**{key: value}), field) == expected


def test_without_buckets_the_table_reaches_max_relative_positions() -> None:
    assert read(position_buckets=-1).table_rows == 1024
    assert read(position_buckets=-1, max_relative_positions=100).table_rows == 200


def test_scale_counts_the_terms_also_without_relative_attention() -> None:
    """As both public implementations do."""
    assert read(relative_attention=False).score_scale == pytest.approx(1 / (64 * 3) ** 0.5)
    assert read(pos_att_type="c2p").score_scale == pytest.approx(1 / (64 * 2) ** 0.5)
    assert read(pos_att_type=[]).score_scale == pytest.approx(1 / 8)


def test_keys_without_a_field_are_kept_and_written_back() -> None:
    config = read(architectures=["X"], id2label={"0": "A"})
    assert config.extra["pooler_hidden_size"] == 768
    written = config.to_dict()
    assert (written["architectures"], written["id2label"]) == (["X"], {"0": "A"})
    assert "pooler_dropout" in written


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layer_norm_eps": 1e-12, "unknown": {"deep": [1, None]}},
        {"position_buckets": -1, "norm_rel_ebd": None, "pos_att_type": "p2c"},
        {"relative_attention": False, "position_biased_input": True, "embedding_size": 32},
    ],
)
def test_what_is_written_reads_back_equal(changes: Mapping[str, Any]) -> None:
    config = read(**changes)
    assert DebertaConfig.from_dict(config.to_dict()) == config
    assert DebertaConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


@given(st.integers(2, 300), st.integers(1, 400), st.sampled_from(ACTIVATIONS), st.booleans())
def test_any_config_that_is_read_survives_writing(
    buckets: int, further: int, activation: str, switch: bool
) -> None:
    config = replace(
        tiny_config(),
        position_buckets=buckets,
        max_relative_positions=buckets // 2 + 1 + further,
        hidden_act=activation,
        relative_attention=switch,
    )
    assert DebertaConfig.from_dict(config.to_dict()) == config


def test_every_activation_has_its_function() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION_FUNCTIONS)


NAN = float("nan")
SIZES = "an integer from 1 to 65536"
REFUSED = [
    ("hidden_size", "768", SIZES),
    ("hidden_size", 768.0, SIZES),
    ("hidden_size", True, SIZES),
    ("hidden_size", [768], SIZES),
    ("hidden_size", NAN, SIZES),
    ("hidden_size", 0, SIZES),
    ("hidden_size", -768, SIZES),
    ("hidden_size", 10**9, SIZES),
    ("num_attention_heads", 0, SIZES),
    ("num_attention_heads", 7, "a divisor of hidden_size=768"),
    ("num_hidden_layers", 10**6, "an integer from 1 to 256"),
    ("num_hidden_layers", 0, "an integer from 1 to 256"),
    ("intermediate_size", 10**9, "an integer from 1 to 524288"),
    ("vocab_size", 10**9, "an integer from 1 to 16777216"),
    ("vocab_size", -1, "an integer from 1 to 16777216"),
    ("max_position_embeddings", 0, "an integer from 1 to 16777216"),
    ("max_relative_positions", -2, "an integer from -1 to 16777216"),
    ("max_relative_positions", 10**12, "an integer from -1 to 16777216"),
    ("position_buckets", 1, "at least 2, or -1 for none"),
    ("position_buckets", "256", "an integer from -1 to 16777216"),
    ("position_buckets", False, "an integer from -1 to 16777216"),
    ("type_vocab_size", -1, "an integer from 0 to 16777216"),
    ("embedding_size", 0, SIZES),
    ("pad_token_id", -1, "an integer from 0 to 16777216"),
    ("pad_token_id", 128100, "below vocab_size=128100"),
    ("hidden_dropout_prob", 1, "a number from 0 up to, but not including, 1"),
    ("hidden_dropout_prob", NAN, "a number from 0 up to, but not including, 1"),
    ("hidden_dropout_prob", -0.1, "a number from 0 up to, but not including, 1"),
    ("hidden_dropout_prob", False, "a number from 0 up to, but not including, 1"),
    ("attention_probs_dropout_prob", "0.1", "a number from 0 up to, but not including, 1"),
    ("layer_norm_eps", float("inf"), "a number from 0 up to, but not including, 1"),
    ("initializer_range", [0.02], "a number from 0 up to, but not including, 1"),
    ("relative_attention", 1, "true or false"),
    ("relative_attention", "true", "true or false"),
    ("share_att_key", NAN, "true or false"),
    ("position_biased_input", 0, "true or false"),
    ("model_type", "deberta", "one of: deberta-v2"),
    ("model_type", "bert", "one of: deberta-v2"),
    ("model_type", ["deberta-v2"], "one of: deberta-v2"),
    ("hidden_act", "gelu_new", f"one of: {', '.join(ACTIVATIONS)}"),
    ("hidden_act", ["gelu"], f"one of: {', '.join(ACTIVATIONS)}"),
    ("hidden_act", {"name": "gelu"}, f"one of: {', '.join(ACTIVATIONS)}"),
    ("hidden_act", NAN, f"one of: {', '.join(ACTIVATIONS)}"),
    ("pos_att_type", "p2p|c2p", "terms out of c2p, p2c (found 'p2p')"),
    ("pos_att_type", ["c2p", "p2p", "x"], "terms out of c2p, p2c (found 'p2p', 'x')"),
    ("pos_att_type", "none", "terms out of c2p, p2c (found 'none')"),
    ("pos_att_type", "", "terms out of c2p, p2c (found '')"),
    ("pos_att_type", "c2p|", "terms out of c2p, p2c (found '')"),
    ("pos_att_type", 3, "a list of terms out of c2p, p2c"),
    ("pos_att_type", True, "a list of terms out of c2p, p2c"),
    ("pos_att_type", [["c2p"]], "a list of terms out of c2p, p2c"),
    ("pos_att_type", {"c2p": 1}, "a list of terms out of c2p, p2c"),
    ("norm_rel_ebd", "batch_norm", "'layer_norm' or 'none'"),
    ("norm_rel_ebd", ["layer_norm"], "'layer_norm' or 'none'"),
    ("norm_rel_ebd", True, "'layer_norm' or 'none'"),
    ("norm_rel_ebd", False, "'layer_norm' or 'none'"),
    ("conv_kernel_size", 3, "0 (no convolution)"),
    ("conv_kernel_size", "0", "0 (no convolution)"),
    ("talking_head", True, "false; no released model uses it"),
    ("z_steps", 2, "0; no released model uses it"),
    ("attention_head_size", 32, "64, hidden_size / heads"),
    ("attention_head_size", [1], SIZES),
    ("attention_head_size", {}, SIZES),
]


@pytest.mark.parametrize(("key", "value", "expected"), REFUSED)
def test_refused_values_are_named_with_what_is_accepted(
    key: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{key: value})
    shown = repr(value)
    assert str(caught.value) == (
        f"config.json: {key}={shown} is not supported; expected {expected}."
    )


def test_a_range_too_short_for_the_buckets_is_refused() -> None:
    """The logarithm of the farthest distance would be zero or negative."""
    message = r"max_relative_positions=129 is not supported; expected more than 129 with "
    with pytest.raises(ConfigError, match=message):
        read(max_relative_positions=129)
    assert read(max_relative_positions=130).position_buckets == 256
    with pytest.raises(ConfigError, match="max_relative_positions=64 is not supported"):
        read(max_position_embeddings=64)


def test_a_head_count_of_the_wrong_kind_beside_a_head_size_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="num_attention_heads=1000000000 is not supported"):
        read(num_attention_heads=10**9, attention_head_size=[1])


def test_long_values_are_cut_in_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        read(hidden_act="x" * 10**6)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("content", [[], "text", None, 3])
def test_anything_but_an_object_is_refused(content: Any) -> None:
    message = f"^file: found {type(content).__name__}, expected an object with keys"
    with pytest.raises(ConfigError, match=message):
        DebertaConfig.from_dict(content, "file")


def test_messages_name_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^/some/config\.json: hidden_size=0 is not supported"):
        DebertaConfig.from_dict({"hidden_size": 0}, "/some/config.json")
