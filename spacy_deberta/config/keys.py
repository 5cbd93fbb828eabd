"""The keys of config.json: what each may hold, in which spellings, and what is refused.

A rule takes the value that JSON holds and returns it in its canonical form. What other
implementations accept and then compute wrongly, or ignore silently, is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from spacy_deberta.errors import ConfigError

ACTIVATIONS = ("gelu", "relu", "silu", "swish", "tanh", "sigmoid", "linear")
POSITION_TERMS = ("c2p", "p2c")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
TOKEN_POOLING = "token_pooling"  # ours: how a token's row was made of its pieces in training

_MAX_WIDTH = 65_536  # features; far above any released model, far below what breaks an allocator
_MAX_LAYERS = 256  # five times the deepest released model
_MAX_ROWS = 16_777_216  # rows of an embedding table
_MAX_POSITIONS = 1_048_576  # pieces of one sequence
_MAX_KERNEL = 255  # pieces; the released convolutions see 3
_MIN_BUCKETS = 2  # with one, half of them is none, and its logarithm is not a number
_SHOWN = 120  # characters of a refused value that a message repeats

Rule = Callable[[Any], Any]


class NotAcceptedError(Exception):
    """A value that a rule refuses; the text says what it expects."""


def _integer(low: int, high: int) -> Rule:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise NotAcceptedError(f"an integer from {low} to {high}")
        return value

    return read


def _fraction(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise NotAcceptedError("a number from 0 up to, but not including, 1")
    return float(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise NotAcceptedError("true or false")
    return value


def _one_of(accepted: tuple[str, ...]) -> Rule:
    def read(value: object) -> str:
        if value not in accepted:
            raise NotAcceptedError(f"one of: {', '.join(accepted)}")
        return str(value)

    return read


def _terms(value: object) -> tuple[str, ...]:
    """Score terms from a list or a string split on '|', in canonical order."""
    accepted = ", ".join(POSITION_TERMS)
    parts = value.split("|") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(p, str) for p in parts):
        raise NotAcceptedError(f"a list of terms out of {accepted}")
    found = {part.strip().lower() for part in parts}
    unknown = ", ".join(repr(term) for term in sorted(found - set(POSITION_TERMS)))
    if unknown:
        raise NotAcceptedError(f"terms out of {accepted} (found {unknown})")
    return tuple(term for term in POSITION_TERMS if term in found)


def _norm(value: object) -> str:
    """Whether a string split on '|' asks for the table's norm."""
    found = value.strip().lower().split("|") if isinstance(value, str) else [value]
    if not all(part in ("none", "layer_norm") for part in found):
        raise NotAcceptedError("'layer_norm' or 'none'")
    return "layer_norm" if "layer_norm" in found else "none"


def _kernel(value: object) -> int:
    """Even kernels have no middle: the output would be one piece shorter or longer."""
    size = _integer(0, _MAX_KERNEL)(value)
    if size and size % 2 == 0:
        raise NotAcceptedError("an odd number of pieces, or 0 for no convolution")
    return int(size)


def _labels(value: object) -> Mapping[int, str]:
    """Names of the labels 0, 1, ... in order; JSON has their numbers as strings."""
    expected = "an object that names each label once: '0', '1', ... to a string"
    if not isinstance(value, Mapping) or not all(isinstance(n, str) for n in value.values()):
        raise NotAcceptedError(expected)
    named = {str(number): name for number, name in value.items()}
    numbers = {str(number) for number in range(len(value))}
    if named.keys() != numbers or len(value) > _MAX_WIDTH:
        raise NotAcceptedError(expected)
    return MappingProxyType({number: named[str(number)] for number in range(len(named))})


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise NotAcceptedError("an object with keys")
    return MappingProxyType(dict(value))


_ROWS = _integer(1, _MAX_ROWS)
_WIDTH = _integer(1, _MAX_WIDTH)
_ACTIVATION = _one_of(ACTIVATIONS)

RULES: dict[str, Rule] = {
    "hidden_size": _WIDTH,
    "num_attention_heads": _WIDTH,
    "vocab_size": _ROWS,
    "num_hidden_layers": _integer(1, _MAX_LAYERS),
    "intermediate_size": _integer(1, 8 * _MAX_WIDTH),
    "hidden_act": _ACTIVATION,
    "hidden_dropout_prob": _fraction,
    "attention_probs_dropout_prob": _fraction,
    "max_position_embeddings": _integer(1, _MAX_POSITIONS),
    "type_vocab_size": _integer(0, _MAX_ROWS),
    "layer_norm_eps": _fraction,
    "initializer_range": _fraction,
    "pad_token_id": _integer(0, _MAX_ROWS),
    "relative_attention": _boolean,
    "max_relative_positions": _integer(-1, _MAX_POSITIONS),
    "position_buckets": _integer(-1, _MAX_POSITIONS),
    "pos_att_type": _terms,
    "share_att_key": _boolean,
    "norm_rel_ebd": _norm,
    "position_biased_input": _boolean,
    "embedding_size": _WIDTH,
    "conv_kernel_size": _kernel,
    "conv_groups": _WIDTH,
    "conv_act": _ACTIVATION,
    "pooler_hidden_act": _ACTIVATION,
    "pooler_dropout": _fraction,
    "cls_dropout": _fraction,
    "id2label": _labels,
    "num_labels": _WIDTH,
    "problem_type": _one_of(PROBLEM_TYPES),
    "legacy": _boolean,
    "tie_word_embeddings": _boolean,
    "extra": _object,
}

# Keys that no field holds because only one value works, and those that say twice what another says.
_UNSUPPORTED = {
    "talking_head": "false; no released model uses it",
    "z_steps": "0; no released model uses it",
}
_OTHER_SPELLINGS = {"padding_idx": "pad_token_id"}
_POOLING = ("hidden_size", "dropout", "hidden_act")

# What the first family does not have: any other value there belongs to weights of the second.
OFF_BEFORE_V2 = {
    "position_buckets": -1,
    "share_att_key": False,
    "norm_rel_ebd": "none",
    "conv_kernel_size": 0,
    "conv_groups": 1,
    "conv_act": "tanh",
}


def refuse(file: str, key: str, value: object, expected: str) -> NoReturn:
    """Raise the one message of a value that cannot work.

    Raises:
        ConfigError: always.
    """
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    raise ConfigError(f"{file}: {key}={shown} is not supported; expected {expected}.")


def read_keys(data: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Values by field from the content of a config.json, whatever it is spelled like.

    Nothing is checked here but what no field holds. Null is the same as absent.

    Raises:
        ConfigError: not an object, or a key with a value that this package cannot compute.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file}: found {type(data).__name__}, expected an object with keys.")
    given = {key: value for key, value in data.items() if value is not None}
    for key, expected in _UNSUPPORTED.items():
        if given.pop(key, 0):
            refuse(file, key, data[key], expected)
    for key, ours in _OTHER_SPELLINGS.items():
        if key in given:
            given.setdefault(ours, given.pop(key))
    _spread_pooling(given, file)
    if "id2label" in given:
        given.pop("label2id", None)  # the same, the other way round
    given.pop("model_type", None)
    return given


def _spread_pooling(given: dict[str, Any], file: str) -> None:
    """{"pooling": {"dropout": ...}} is pooler_dropout, and so on."""
    pooling = given.pop("pooling", {})
    if not isinstance(pooling, Mapping):
        refuse(file, "pooling", pooling, "an object with keys")
    for key in _POOLING:
        if pooling.get(key) is not None:
            given.setdefault(f"pooler_{key}", pooling[key])


def check_sizes(given: dict[str, Any], settled: Mapping[str, Any], file: str) -> None:
    """Take out keys that repeat a size; refuse those that say another one."""
    hidden, heads = settled["hidden_size"], settled["num_attention_heads"]
    wanted = {
        "attention_head_size": (hidden // heads, "hidden_size / heads"),
        "pooler_hidden_size": (hidden, "hidden_size"),
    }
    for key, (size, origin) in wanted.items():
        found = accept(key, given.pop(key, size), _WIDTH, file)
        if found != size:
            refuse(file, key, found, f"{size}, {origin}")


def accept(key: str, value: object, rule: Rule, file: str) -> Any:  # noqa: ANN401 - as the rule
    """The canonical form of one value.

    Raises:
        ConfigError: the rule refuses it.
    """
    try:
        return rule(value)
    except NotAcceptedError as error:
        refuse(file, key, value, str(error))


def settle(values: Mapping[str, Any], defaults: Mapping[str, Any], file: str) -> dict[str, Any]:
    """All fields in canonical form: defaults filled in, one size derived from another.

    Raises:
        ConfigError: a value, or two together, that cannot work.
    """
    found: dict[str, Any] = {}
    for key, rule in RULES.items():
        value = values.get(key)
        value = defaults[key] if value is None else value
        found[key] = value if value is None else accept(key, value, rule, file)
    if found["max_relative_positions"] < 1:
        found["max_relative_positions"] = found["max_position_embeddings"]
    if found["position_buckets"] < 1:
        found["position_buckets"] = -1
    if not found["relative_attention"]:
        found["norm_rel_ebd"] = "none"  # a norm of no table
    if found["embedding_size"] is None:
        found["embedding_size"] = found["hidden_size"]
    if found["num_labels"] is None:
        found["num_labels"] = len(found["id2label"]) or 2  # labels; what both public codes assume
    _check_together(found, file)
    return found


def _check_together(found: dict[str, Any], file: str) -> None:
    """Refuse combinations that other implementations accept and then compute wrongly."""
    hidden, buckets = found["hidden_size"], found["position_buckets"]
    for key in ("num_attention_heads", "conv_groups"):
        if hidden % found[key]:
            refuse(file, key, found[key], f"a divisor of hidden_size={hidden}")
    if 0 < buckets < _MIN_BUCKETS:
        refuse(file, "position_buckets", buckets, f"at least {_MIN_BUCKETS}, or -1 for none")
    far = found["max_relative_positions"]
    if buckets > 0 and far - 1 <= buckets // 2:
        wanted = f"more than {buckets // 2 + 1} with position_buckets={buckets}"
        refuse(file, "max_relative_positions", far, wanted)
    if found["pad_token_id"] >= found["vocab_size"]:
        refuse(
            file, "pad_token_id", found["pad_token_id"], f"below vocab_size={found['vocab_size']}"
        )
    n_named = len(found["id2label"])
    if n_named and n_named != found["num_labels"]:
        refuse(file, "num_labels", found["num_labels"], f"{n_named}, as many as id2label names")
