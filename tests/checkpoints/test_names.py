"""The tables of tensor names."""

from typing import Any

import pytest

from spacy_deberta.checkpoints.layouts import encoder_names, to_file
from spacy_deberta.checkpoints.names import (
    ENCODER_NAMES,
    FUSED_ENCODER_NAMES,
    HEAD_NAMES,
    HEAD_TITLES,
    MASKED_LM_NAMES,
    inverted,
    rename,
)
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.heads import (
    ChoiceHead,
    EnhancedMaskDecoder,
    LegacyMaskedLMHead,
    MaskedLMHead,
    ProjectedTokenHead,
    RecordHead,
    ReplacedTokenHead,
    SequenceHead,
    SpanHead,
    TokenHead,
)
from spacy_deberta.training.upcycling import BERT_NAMES
from tests.tiny import tiny_config, tiny_v1_config

TABLES = {
    "encoder": ENCODER_NAMES,
    "fused-encoder": FUSED_ENCODER_NAMES,
    "bert": BERT_NAMES,
    **HEAD_NAMES,
}
HEADS: list[tuple[str, Any]] = [
    ("mlm", MaskedLMHead),
    ("legacy_mlm", LegacyMaskedLMHead),
    ("mask_decoder", EnhancedMaskDecoder),
    ("rtd", ReplacedTokenHead),
    ("pooler_classifier", SequenceHead),
    ("pooler_classifier", ChoiceHead),
    ("classifier", TokenHead),
    ("ner_proj", ProjectedTokenHead),
    ("record", RecordHead),
    ("qa", SpanHead),
]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_are_bijections(table: dict[str, str]) -> None:
    assert len(set(table.values())) == len(table)
    assert inverted(inverted(table)) == table
    for theirs, ours in table.items():
        assert theirs.count("{}") == ours.count("{}") <= 1
        assert rename(theirs.format(11), table) == ours.format(11)
        assert rename(ours.format(11), inverted(table)) == theirs.format(11)


VARIANTS: dict[str, list[DebertaConfig]] = {
    "later": [
        tiny_config(share_att_key=False, embedding_size=8, conv_kernel_size=3),
        tiny_config(position_biased_input=True, type_vocab_size=2),
    ],
    "first": [
        tiny_v1_config(embedding_size=8),
        tiny_v1_config(position_biased_input=True, type_vocab_size=2),
    ],
}


@pytest.mark.parametrize("configs", VARIANTS.values(), ids=VARIANTS)
def test_a_table_has_every_tensor_of_its_layout_and_no_other(configs: list[DebertaConfig]) -> None:
    names = set()
    for config in configs:
        tensors = to_file(DebertaEncoder(config).state_dict(), config)
        names |= {name.replace("layer.0.", "layer.{}.") for name in tensors if ".1." not in name}
    assert names == set(encoder_names(configs[0]))


@pytest.mark.parametrize(("kind", "module"), HEADS)
def test_a_table_has_every_tensor_of_its_head_and_no_other(kind: str, module: Any) -> None:
    assert set(HEAD_NAMES[kind].values()) == set(module(tiny_config()).state_dict())


def test_every_kind_of_head_has_a_title_and_a_module() -> None:
    assert HEAD_NAMES.keys() == HEAD_TITLES.keys() == {kind for kind, _ in HEADS}
    assert HEAD_NAMES["mlm"] is MASKED_LM_NAMES


@pytest.mark.parametrize(
    "name", ["", "encoder.layer.0.1.output.dense.bias", "encoder.layer..output.dense.bias", "x.1.y"]
)
def test_other_names_stand_for_nothing(name: str) -> None:
    assert rename(name, ENCODER_NAMES) is None
