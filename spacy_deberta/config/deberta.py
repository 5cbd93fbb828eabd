"""DebertaConfig and DebertaV2Config: one validated, frozen description of a DeBERTa each.

A version of DeBERTa is a set of field values; no module further down asks which version it runs.
The fields have the names of the public config.json keys. What only one family has is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, cast

from spacy_deberta.config.keys import (
    OFF_BEFORE_V2,
    RULES,
    check_sizes,
    read_keys,
    refuse,
    settle,
)

_DERIVED = cast(int, None)  # given no value, __post_init__ takes it from another field
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class DebertaConfig:
    """Sizes and switches of a DeBERTa; the defaults and limits of its first version.

    Any field may be given in any spelling that config.json knows ("c2p|p2c" for the terms); None
    is the default.

    Attributes:
        relative_attention: false leaves out the relative table; as in both public
            implementations, the scale counts `pos_att_type` all the same.
        max_relative_positions: farthest distance + 1; -1 becomes max_position_embeddings.
        position_buckets: half the height of the relative table with log buckets; -1 = none, plain
            clipping at `max_relative_positions`.
        pos_att_type: which of "c2p", "p2c" the scores add, in this order.
        share_att_key: the table goes through the layer's own query and key projections instead of
            projections of its own.
        norm_rel_ebd: "layer_norm" = a norm on the relative table; "none", also without a table.
        position_biased_input: absolute positions are added to the input embeddings.
        embedding_size: width of the input tables; None becomes hidden_size.
        conv_kernel_size: pieces that the convolution beside the first layer sees; 0 = none.
        cls_dropout: dropout before a classifier; None = hidden_dropout_prob.
        num_labels: None becomes the length of id2label, or 2.
        id2label: names of the labels; empty = unnamed.
        legacy: which of its masked-LM heads `transformers` builds; nothing here reads it.
        extra: keys of config.json that no field covers, kept for writing back.
    """

    model_type: ClassVar[str] = "deberta"

    vocab_size: int = 50_265
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 0
    layer_norm_eps: float = 1e-7
    initializer_range: float = 0.02
    pad_token_id: int = 0
    relative_attention: bool = False
    max_relative_positions: int = -1
    position_buckets: int = -1
    pos_att_type: tuple[str, ...] = ()
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    position_biased_input: bool = True
    embedding_size: int = _DERIVED
    conv_kernel_size: int = 0
    conv_groups: int = 1
    conv_act: str = "tanh"
    pooler_hidden_act: str = "gelu"
    pooler_dropout: float = 0.0
    cls_dropout: float | None = None
    num_labels: int = _DERIVED
    id2label: Mapping[int, str] = field(default_factory=lambda: _NOTHING)
    problem_type: str | None = None
    legacy: bool = True
    tie_word_embeddings: bool = True
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, repr=False)

    def __post_init__(self) -> None:
        """Check and settle all fields, with the messages of `from_dict`."""
        given = {name: getattr(self, name) for name in RULES}
        for name, value in self._settle(given, type(self).__name__).items():
            object.__setattr__(self, name, value)

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
        far = self.position_buckets if self.position_buckets > 0 else self.max_relative_positions
        return 2 * far

    @property
    def score_scale(self) -> float:
        """Factor on every score: 1 / sqrt(head width x number of score terms)."""
        return 1.0 / math.sqrt(self.head_width * (1 + len(self.pos_att_type)))

    @property
    def has_convolution(self) -> bool:
        """Whether a convolution over the embeddings joins the output of the first layer."""
        return self.conv_kernel_size > 0

    @property
    def key_bias(self) -> bool:
        """Whether the key projection has a bias; a zero bias is not the same: it would train."""
        return self.model_type != DebertaConfig.model_type

    @property
    def position_key_bias(self) -> bool:
        """Whether the projection of the table to the key side has a bias."""
        return self.key_bias

    @property
    def position_query_bias(self) -> bool:
        """Whether the projection of the table to the query side has a bias: in all versions."""
        return True

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], file: str = "config.json") -> DebertaConfig:
        """Read the content of a config.json, in any of its public spellings.

        Args:
            data: the content. Files of Microsoft's own code have no model_type; without one the
                layout of the second version is assumed, so add it where the weights say otherwise.
            file: how messages call it.

        Returns:
            An instance of the class that model_type stands for.

        Raises:
            ConfigError: naming the file, the key, the value found and what is accepted.
        """
        given = read_keys(data, file)
        chosen = cls._class_of(data.get("model_type"), file)
        extra = {key: value for key, value in given.items() if key not in RULES or key == "extra"}
        settled = chosen._settle(given | {"extra": {}}, file)
        check_sizes(extra, settled, file)
        return chosen(**settled | {"extra": extra})

    def to_dict(self) -> dict[str, Any]:
        """The config.json of this shape, as `from_dict` and other implementations read it."""
        kept = {name: getattr(self, name) for name in RULES if name != "extra"}
        if self.model_type == DebertaConfig.model_type:
            kept = {name: value for name, value in kept.items() if name not in OFF_BEFORE_V2}
        kept["pos_att_type"] = list(self.pos_att_type)
        kept["id2label"] = kept["label2id"] = None
        if self.id2label:
            kept["id2label"] = {str(number): name for number, name in self.id2label.items()}
            kept["label2id"] = {name: number for number, name in self.id2label.items()}
        written = {name: value for name, value in kept.items() if value is not None}
        return {**self.extra, "model_type": self.model_type, **written}

    @classmethod
    def _class_of(cls, model_type: object, file: str) -> type[DebertaConfig]:
        known = {c.model_type: c for c in (DebertaConfig, DebertaV2Config) if issubclass(c, cls)}
        found = DebertaV2Config.model_type if model_type is None else model_type
        if not isinstance(found, str) or found not in known:
            refuse(file, "model_type", found, f"one of: {', '.join(known)}")
        return known[found]

    @classmethod
    def _settle(cls, given: Mapping[str, Any], file: str) -> dict[str, Any]:
        """All fields in canonical form, or a ConfigError."""
        defaults = {f.name: f.default for f in fields(cls)} | {"id2label": {}, "extra": {}}
        settled = settle(given, defaults, file)
        if cls.model_type == DebertaConfig.model_type:
            for key, off in OFF_BEFORE_V2.items():
                if settled[key] != off:
                    wanted = f"{off!r} with model_type 'deberta'; only 'deberta-v2' has others"
                    refuse(file, key, settled[key], wanted)
        return settled


@dataclass(frozen=True, kw_only=True)
class DebertaV2Config(DebertaConfig):
    """The defaults of DeBERTa's second version, whose layout v3 and mDeBERTa share."""

    model_type: ClassVar[str] = "deberta-v2"

    vocab_size: int = 128_100
    hidden_size: int = 1536
    num_hidden_layers: int = 24
    num_attention_heads: int = 24
    intermediate_size: int = 6144
