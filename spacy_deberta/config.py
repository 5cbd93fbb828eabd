"""DebertaConfig: the shape of one DeBERTa, and the only reader of config.json.

A version of DeBERTa is a set of field values, decided once in `DebertaConfig.from_dict`; no module
further down asks which version it runs. Keys and defaults follow the public config.json files of
the v2 layout (DeBERTa-v2, DeBERTa-v3, mDeBERTa), where absent keys have the meaning that both
public implementations give them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from spacy_deberta.errors import ConfigError

ACTIVATIONS = ("gelu", "relu", "silu", "swish", "tanh", "sigmoid", "linear")
POSITION_TERMS = ("c2p", "p2c")

_MAX_WIDTH = 65_536  # features; far above any released model, far below what breaks an allocator
_MAX_LAYERS = 256  # five times the deepest released model
_MAX_ROWS = 16_777_216  # rows of an embedding table
_MIN_BUCKETS = 2  # with one, half of them is none, and its logarithm is not a number
_UNSUPPORTED = {
    "conv_kernel_size": "0 (no convolution)",
    "talking_head": "false; no released model uses it",
    "z_steps": "0; no released model uses it",
}
_SHOWN = 120  # characters of a refused value that a message repeats


@dataclass(frozen=True, kw_only=True)
class DebertaConfig:
    """Sizes and switches of a DeBERTa encoder.

    Attributes:
        position_buckets: half the height of the relative table with log buckets; None = plain
            clipping at `max_relative_positions`.
        relative_attention: false leaves out the relative table; as in both public
            implementations, the scale counts `position_terms` all the same.
        position_terms: which of "c2p", "p2c" the scores add.
        share_position_projections: the table goes through the layer's own query and key
            projections (share_att_key) instead of projections of its own.
        position_norm: a LayerNorm on the relative table (norm_rel_ebd).
        position_biased_input: absolute positions are added to the input embeddings.
        embedding_size: width of the input tables; differs from hidden_size only when configured.
        extra: keys of config.json that no field covers, kept for writing back.
    """

    vocab_size: int = 128_100
    hidden_size: int = 1536
    num_hidden_layers: int = 24
    num_attention_heads: int = 24
    intermediate_size: int = 6144
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 0
    layer_norm_eps: float = 1e-7
    initializer_range: float = 0.02
    pad_token_id: int = 0
    relative_attention: bool = False
    max_relative_positions: int = 512
    position_buckets: int | None = None
    position_terms: tuple[str, ...] = ()
    share_position_projections: bool = False
    position_norm: bool = False
    position_biased_input: bool = True
    embedding_size: int = 1536
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle through `to_dict`: a read-only mapping can do neither itself."""
        return (type(self).from_dict, (self.to_dict(),))

    @property
    def head_width(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def table_rows(self) -> int:
        """Height of the relative position table: twice the farthest bucket."""
        return 2 * (self.position_buckets or self.max_relative_positions)

    @property
    def score_scale(self) -> float:
        """Factor on every score: 1 / sqrt(head width x number of score terms)."""
        return 1.0 / math.sqrt(self.head_width * (1 + len(self.position_terms)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], file: str = "config.json") -> DebertaConfig:
        """Read the content of a config.json, in any of its public spellings.

        Raises:
            ConfigError: naming the file, the key, the value found and what is accepted.
        """
        read = _Keys(data, file)
        read.one_of("model_type", ("deberta-v2",), "deberta-v2")
        hidden = read.integer("hidden_size", 1536, 1, _MAX_WIDTH)
        heads = read.integer("num_attention_heads", 24, 1, _MAX_WIDTH)
        if hidden % heads:
            read.refuse("num_attention_heads", heads, f"a divisor of hidden_size={hidden}")
        head = read.integer("attention_head_size", hidden // heads, 1, _MAX_WIDTH)
        if head != hidden // heads:
            read.refuse("attention_head_size", head, f"{hidden // heads}, hidden_size / heads")
        positions = read.integer("max_position_embeddings", 512, 1, _MAX_ROWS)
        far = read.integer("max_relative_positions", -1, -1, _MAX_ROWS)
        buckets = read.integer("position_buckets", -1, -1, _MAX_ROWS)
        config = cls(
            vocab_size=read.integer("vocab_size", 128_100, 1, _MAX_ROWS),
            hidden_size=hidden,
            num_hidden_layers=read.integer("num_hidden_layers", 24, 1, _MAX_LAYERS),
            num_attention_heads=heads,
            intermediate_size=read.integer("intermediate_size", 6144, 1, 8 * _MAX_WIDTH),
            hidden_act=read.one_of("hidden_act", ACTIVATIONS, "gelu"),
            hidden_dropout_prob=read.fraction("hidden_dropout_prob", 0.1),
            attention_probs_dropout_prob=read.fraction("attention_probs_dropout_prob", 0.1),
            max_position_embeddings=positions,
            type_vocab_size=read.integer("type_vocab_size", 0, 0, _MAX_ROWS),
            layer_norm_eps=read.fraction("layer_norm_eps", 1e-7),
            initializer_range=read.fraction("initializer_range", 0.02),
            pad_token_id=read.integer("pad_token_id", 0, 0, _MAX_ROWS),
            relative_attention=read.boolean("relative_attention", default=False),
            max_relative_positions=far if far >= 1 else positions,
            position_buckets=buckets if buckets > 0 else None,
            position_terms=read.terms("pos_att_type"),
            share_position_projections=read.boolean("share_att_key", default=False),
            position_norm=read.norm("norm_rel_ebd"),
            position_biased_input=read.boolean("position_biased_input", default=True),
            embedding_size=read.integer("embedding_size", hidden, 1, _MAX_WIDTH),
            extra=read.extra(),
        )
        _check_together(config, read)
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config.json of this shape, as `from_dict` and other implementations read it."""
        return {
            **self.extra,
            "model_type": "deberta-v2",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
            "hidden_act": self.hidden_act,
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attention_probs_dropout_prob": self.attention_probs_dropout_prob,
            "max_position_embeddings": self.max_position_embeddings,
            "type_vocab_size": self.type_vocab_size,
            "layer_norm_eps": self.layer_norm_eps,
            "initializer_range": self.initializer_range,
            "pad_token_id": self.pad_token_id,
            "relative_attention": self.relative_attention,
            "max_relative_positions": self.max_relative_positions,
            "position_buckets": self.position_buckets or -1,
            "pos_att_type": list(self.position_terms),
            "share_att_key": self.share_position_projections,
            "norm_rel_ebd": "layer_norm" if self.position_norm else "none",
            "position_biased_input": self.position_biased_input,
            "embedding_size": self.embedding_size,
        }


def _check_together(config: DebertaConfig, read: _Keys) -> None:
    """Refuse combinations that other implementations accept and then compute wrongly."""
    buckets, far = config.position_buckets, config.max_relative_positions
    if buckets is not None and buckets < _MIN_BUCKETS:
        read.refuse("position_buckets", buckets, f"at least {_MIN_BUCKETS}, or -1 for none")
    if buckets is not None and far - 1 <= buckets // 2:
        wanted = f"more than {buckets // 2 + 1} with position_buckets={buckets}"
        read.refuse("max_relative_positions", far, wanted)
    if config.pad_token_id >= config.vocab_size:
        read.refuse("pad_token_id", config.pad_token_id, f"below vocab_size={config.vocab_size}")


class _Keys:
    """Typed access to the keys of one config.json; remembers which keys were read."""

    def __init__(self, data: Mapping[str, Any], file: str) -> None:
        if not isinstance(data, Mapping):
            raise ConfigError(f"{file}: found {type(data).__name__}, expected an object with keys.")
        self._data = data
        self._file = file
        self._seen: set[str] = set()
        self._refuse_unsupported()

    def refuse(self, key: str, value: object, expected: str) -> None:
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}..."
        raise ConfigError(f"{self._file}: {key}={shown} is not supported; expected {expected}.")

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(key, value, f"an integer from {low} to {high}")
        return int(value)

    def fraction(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            self.refuse(key, value, "a number from 0 up to, but not including, 1")
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.refuse(key, value, "true or false")
        return bool(value)

    def one_of(self, key: str, accepted: tuple[str, ...], default: str) -> str:
        value = self._get(key, default)
        if value not in accepted:
            self.refuse(key, value, f"one of: {', '.join(accepted)}")
        return str(value)

    def terms(self, key: str) -> tuple[str, ...]:
        """Score terms from a list or a string split on '|', in canonical order."""
        value = self._get(key, [])
        parts = value.split("|") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(p, str) for p in parts):
            self.refuse(key, value, f"a list of terms out of {', '.join(POSITION_TERMS)}")
        found = {part.strip().lower() for part in parts}
        unknown = found - set(POSITION_TERMS)
        if unknown:
            names = ", ".join(repr(term) for term in sorted(unknown))
            self.refuse(key, value, f"terms out of {', '.join(POSITION_TERMS)} (found {names})")
        return tuple(term for term in POSITION_TERMS if term in found)

    def norm(self, key: str) -> bool:
        """Whether a string split on '|' asks for the table's norm."""
        value = self._get(key, "none")
        found = value.strip().lower().split("|") if isinstance(value, str) else [value]
        if not all(part in ("none", "layer_norm") for part in found):
            self.refuse(key, value, "'layer_norm' or 'none'")
        return "layer_norm" in found

    def extra(self) -> Mapping[str, Any]:
        return MappingProxyType({k: v for k, v in self._data.items() if k not in self._seen})

    def _get(self, key: str, default: object) -> Any:  # noqa: ANN401 - what JSON holds
        self._seen.add(key)
        value = self._data.get(key, default)
        return default if value is None else value

    def _refuse_unsupported(self) -> None:
        """Keys that change the computation in ways this encoder does not have."""
        for key, expected in _UNSUPPORTED.items():
            value = self._get(key, 0)
            if value:
                self.refuse(key, value, expected)
