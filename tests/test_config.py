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

from spacy_deberta.config import ACTIVATIONS, PROBLEM_TYPES, DebertaConfig, DebertaV2Config
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
    assert type(config) is DebertaV2Config
    assert config.pos_att_type == ("c2p", "p2c")
    assert (config.max_relative_positions, config.position_buckets) == (512, 256)
    assert (config.head_width, config.table_rows) == (64, 512)
    assert config.score_scale == pytest.approx(1 / (64 * 3) ** 0.5)
    assert config.embedding_size == 768
    assert config.norm_rel_ebd == "layer_norm"
    assert config.share_att_key
    assert config.key_bias
    assert not config.position_biased_input


def test_absent_keys_have_the_public_defaults() -> None:
    config = DebertaConfig.from_dict({})
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (1536, 24, 128_100)
    assert config == DebertaV2Config()
    assert (config.pos_att_type, config.position_buckets) == ((), -1)
    assert (config.num_labels, dict(config.id2label), config.cls_dropout) == (2, {}, None)
    assert config.position_biased_input
    assert not config.relative_attention
    assert not config.has_convolution


def test_the_first_version_has_its_own_defaults() -> None:
    config = DebertaConfig.from_dict({"model_type": "deberta"})
    assert config == DebertaConfig()
    assert type(config) is DebertaConfig
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (768, 12, 50_265)
    assert (config.intermediate_size, config.num_attention_heads) == (3072, 12)
    assert (config.embedding_size, config.max_relative_positions) == (768, 512)
    assert config != DebertaV2Config(**{k: v for k, v in vars(config).items() if k != "extra"})


def test_only_the_first_version_has_no_bias_on_keys() -> None:
    assert not DebertaConfig().key_bias
    assert not DebertaConfig().position_key_bias
    assert DebertaConfig().position_query_bias
    assert DebertaV2Config().position_key_bias
    assert DebertaV2Config().position_query_bias


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("pos_att_type", "c2p|p2c", "pos_att_type", ("c2p", "p2c")),
        ("pos_att_type", "P2C | c2p", "pos_att_type", ("c2p", "p2c")),
        ("pos_att_type", ["p2c", "c2p"], "pos_att_type", ("c2p", "p2c")),
        ("pos_att_type", ["C2P"], "pos_att_type", ("c2p",)),
        ("pos_att_type", "p2c", "pos_att_type", ("p2c",)),
        ("pos_att_type", [], "pos_att_type", ()),
        ("pos_att_type", None, "pos_att_type", ()),
        ("norm_rel_ebd", "layer_norm", "norm_rel_ebd", "layer_norm"),
        ("norm_rel_ebd", "Layer_Norm", "norm_rel_ebd", "layer_norm"),
        ("norm_rel_ebd", "layer_norm|none", "norm_rel_ebd", "layer_norm"),
        ("norm_rel_ebd", "none", "norm_rel_ebd", "none"),
        ("norm_rel_ebd", None, "norm_rel_ebd", "none"),
        ("position_buckets", -1, "position_buckets", -1),
        ("position_buckets", 0, "position_buckets", -1),
        ("position_buckets", None, "position_buckets", -1),
        ("position_buckets", 32, "position_buckets", 32),
        ("max_relative_positions", -1, "max_relative_positions", 512),
        ("max_relative_positions", 0, "max_relative_positions", 512),
        ("max_relative_positions", 300, "max_relative_positions", 300),
        ("embedding_size", None, "embedding_size", 768),
        ("embedding_size", 128, "embedding_size", 128),
        ("layer_norm_eps", 0, "layer_norm_eps", 0.0),
        ("hidden_act", "swish", "hidden_act", "swish"),
        ("attention_head_size", 64, "hidden_size", 768),
        ("conv_kernel_size", 0, "has_convolution", False),
        ("conv_kernel_size", 3, "has_convolution", True),
        ("conv_act", None, "conv_act", "tanh"),
        ("padding_idx", 2, "pad_token_id", 2),
        ("pooler_hidden_size", 768, "hidden_size", 768),
        ("pooling", {"dropout": 0.2, "hidden_act": "tanh"}, "pooler_dropout", 0),  # said above, too
        ("pooling", {"hidden_size": 768}, "hidden_size", 768),
        ("id2label", {"0": "A", "1": "B", "2": "C"}, "num_labels", 3),
        ("id2label", {1: "B", 0: "A"}, "id2label", {0: "A", 1: "B"}),
        ("num_labels", 7, "num_labels", 7),
        ("num_labels", 1, "num_labels", 1),
        ("cls_dropout", None, "cls_dropout", None),
        ("cls_dropout", 0.3, "cls_dropout", 0.3),
        ("problem_type", "regression", "problem_type", "regression"),
        ("legacy", False, "legacy", False),
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
    config = read(architectures=["X"], extra=[1])
    assert dict(config.extra) == {"architectures": ["X"], "extra": [1]}
    written = config.to_dict()
    assert (written["architectures"], written["extra"]) == (["X"], [1])


def test_nested_pooling_is_read() -> None:
    """The spelling of Microsoft's own files."""
    data = {"pooling": {"dropout": 0.2, "hidden_act": "tanh", "hidden_size": 1536}}
    config = DebertaConfig.from_dict(data)
    assert (config.pooler_dropout, config.pooler_hidden_act) == (0.2, "tanh")
    assert not config.extra


def test_labels_are_written_in_both_directions() -> None:
    config = read(id2label={"0": "A", "1": "B"}, label2id={"A": 0, "B": 1})
    written = config.to_dict()
    assert (written["id2label"], written["num_labels"]) == ({"0": "A", "1": "B"}, 2)
    assert written["label2id"] == {"A": 0, "B": 1}
    assert not config.extra


def test_the_first_version_writes_none_of_the_seconds_keys() -> None:
    written = DebertaConfig().to_dict()
    assert written["model_type"] == "deberta"
    assert not {"position_buckets", "share_att_key", "norm_rel_ebd", "conv_kernel_size"} & set(
        written
    )
    assert "id2label" not in written


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layer_norm_eps": 1e-12, "unknown": {"deep": [1, None]}},
        {"position_buckets": -1, "norm_rel_ebd": None, "pos_att_type": "p2c"},
        {"relative_attention": False, "position_biased_input": True, "embedding_size": 32},
        {"conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2, "cls_dropout": 0.5},
        {"id2label": {"0": "A", "1": "B", "2": "C"}, "problem_type": "regression"},
        {"num_labels": 5, "legacy": False, "extra": {"hidden_size": 3}},
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


def test_the_first_version_reads_back_equal() -> None:
    config = DebertaConfig(pos_att_type="p2c", relative_attention=True, hidden_size=24)
    for other in (
        DebertaConfig.from_dict(config.to_dict()),
        DebertaConfig.from_dict(json.loads(json.dumps(config.to_dict()))),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ):
        assert other == config
        assert type(other) is DebertaConfig


def test_construction_reads_every_spelling() -> None:
    config = DebertaV2Config(
        pos_att_type="P2C|c2p", norm_rel_ebd=None, position_buckets=0, hidden_size=48, cls_dropout=0
    )
    assert (config.pos_att_type, config.norm_rel_ebd) == (("c2p", "p2c"), "none")
    assert (config.position_buckets, config.embedding_size) == (-1, 48)
    assert isinstance(config.cls_dropout, float)


def test_replacing_a_field_checks_again() -> None:
    named = read(id2label={"0": "A", "1": "B"})
    assert replace(named, num_labels=3, id2label={}).num_labels == 3
    message = "^DebertaV2Config: num_labels=3 is not supported; expected 2, as many as id2label"
    with pytest.raises(ConfigError, match=message):
        replace(named, num_labels=3)


def test_every_activation_has_its_function() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION_FUNCTIONS)


NAN = float("nan")
SIZES = "an integer from 1 to 65536"
LABELS = "an object that names each label once: '0', '1', ... to a string"
PROBLEMS = f"one of: {', '.join(PROBLEM_TYPES)}"
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
    ("max_position_embeddings", 0, "an integer from 1 to 1048576"),
    ("max_relative_positions", -2, "an integer from -1 to 1048576"),
    ("max_relative_positions", 10**12, "an integer from -1 to 1048576"),
    ("position_buckets", 1, "at least 2, or -1 for none"),
    ("position_buckets", "256", "an integer from -1 to 1048576"),
    ("position_buckets", False, "an integer from -1 to 1048576"),
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
    ("model_type", "bert", "one of: deberta, deberta-v2"),
    ("model_type", ["deberta-v2"], "one of: deberta, deberta-v2"),
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
    ("conv_kernel_size", 4, "an odd number of pieces, or 0 for no convolution"),
    ("conv_kernel_size", "0", "an integer from 0 to 255"),
    ("conv_kernel_size", -1, "an integer from 0 to 255"),
    ("conv_kernel_size", 10**6 + 1, "an integer from 0 to 255"),
    ("conv_groups", 5, "a divisor of hidden_size=768"),
    ("conv_groups", 0, SIZES),
    ("conv_act", "gelu_new", f"one of: {', '.join(ACTIVATIONS)}"),
    ("pooler_hidden_size", 384, "768, hidden_size"),
    ("pooler_hidden_size", "768", SIZES),
    ("pooler_dropout", 1, "a number from 0 up to, but not including, 1"),
    ("pooling", [], "an object with keys"),
    ("cls_dropout", "0.1", "a number from 0 up to, but not including, 1"),
    ("num_labels", 0, SIZES),
    ("num_labels", 10**9, SIZES),
    ("id2label", ["A", "B"], LABELS),
    ("id2label", {"1": "A"}, LABELS),
    ("id2label", {"0": "A", "x": "B"}, LABELS),
    ("id2label", {"0": 1}, LABELS),
    ("id2label", {"0": "A", 0: "B"}, LABELS),
    ("problem_type", "ranking", PROBLEMS),
    ("problem_type", [], PROBLEMS),
    ("legacy", "no", "true or false"),
    ("tie_word_embeddings", 1, "true or false"),
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


NOT_FIELDS = (
    "model_type",
    "talking_head",
    "z_steps",
    "attention_head_size",
    "pooler_hidden_size",
    "pooling",
)


@pytest.mark.parametrize(
    ("key", "value", "expected"), [row for row in REFUSED if row[0] not in NOT_FIELDS]
)
def test_construction_refuses_the_same_values(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(read(), **{key: value})
    assert str(caught.value) == (
        f"DebertaV2Config: {key}={value!r} is not supported; expected {expected}."
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("share_att_key", True),
        ("norm_rel_ebd", "layer_norm"),
        ("position_buckets", 256),
        ("conv_kernel_size", 3),
        ("conv_groups", 2),
        ("conv_act", "gelu"),
    ],
)
def test_the_first_version_refuses_what_only_the_second_has(key: str, value: object) -> None:
    """Weights of the second version under the first one's name."""
    message = (
        rf"{key}={value!r} is not supported; expected .* with model_type 'deberta'; only "
        r"'deberta-v2' has others\.$"
    )
    with pytest.raises(ConfigError, match=r"^config\.json: " + message):
        DebertaConfig.from_dict({"model_type": "deberta", "relative_attention": True, key: value})
    with pytest.raises(ConfigError, match=r"^DebertaConfig: " + message):
        DebertaConfig(**{"relative_attention": True, key: value})


def test_a_norm_of_no_table_is_none() -> None:
    assert read(relative_attention=False).norm_rel_ebd == "none"


def test_each_class_reads_its_own_files_and_the_first_reads_both() -> None:
    assert DebertaV2Config.from_dict({}) == DebertaV2Config()
    message = r"model_type='deberta' is not supported; expected one of: deberta-v2\."
    with pytest.raises(ConfigError, match=message):
        DebertaV2Config.from_dict({"model_type": "deberta"})


def test_a_label_count_that_contradicts_the_names_is_refused() -> None:
    message = "num_labels=3 is not supported; expected 2, as many as id2label names"
    with pytest.raises(ConfigError, match=message):
        read(num_labels=3, id2label={"0": "A", "1": "B"})


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
