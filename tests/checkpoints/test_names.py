"""The tables of tensor names."""

import pytest

from spacy_deberta.checkpoints.names import (
    BESIDE_ENCODER,
    ENCODER_NAMES,
    MASKED_LM_NAMES,
    inverted,
    rename,
)
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.heads import MaskedLMHead
from spacy_deberta.training.upcycling import BERT_NAMES
from tests.tiny import tiny_config

TABLES = {"encoder": ENCODER_NAMES, "masked-lm": MASKED_LM_NAMES, "bert": BERT_NAMES}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_are_bijections(table: dict[str, str]) -> None:
    assert len(set(table.values())) == len(table)
    assert inverted(inverted(table)) == table
    for theirs, ours in table.items():
        assert theirs.count("{}") == ours.count("{}") <= 1
        assert rename(theirs.format(11), table) == ours.format(11)
        assert rename(ours.format(11), inverted(table)) == theirs.format(11)


def test_every_tensor_of_every_shape_has_a_name() -> None:
    names = set()
    for changes in (
        {"share_position_projections": False, "embedding_size": 8},
        {"position_biased_input": True, "type_vocab_size": 2},
    ):
        state = DebertaEncoder(tiny_config(**changes)).state_dict()
        renamed = {name: rename(name, inverted(ENCODER_NAMES)) for name in state}
        assert None not in renamed.values()
        names |= {name.replace("layers.0.", "layers.{}.") for name in state}
    assert set(ENCODER_NAMES.values()) <= names
    assert set(MASKED_LM_NAMES.values()) == set(MaskedLMHead(tiny_config()).state_dict())


@pytest.mark.parametrize(
    "name", ["", "encoder.layer.0.1.output.dense.bias", "encoder.layer..output.dense.bias", "x.1.y"]
)
def test_other_names_stand_for_nothing(name: str) -> None:
    assert rename(name, ENCODER_NAMES) is None


def test_no_encoder_tensor_but_the_absolute_positions_may_be_left_aside() -> None:
    """They belong to the mask decoder where the input is not biased."""
    beside = [name for name in ENCODER_NAMES if BESIDE_ENCODER.match(name)]
    assert beside == ["embeddings.position_embeddings.weight"]
    assert all(BESIDE_ENCODER.match(name) for name in MASKED_LM_NAMES)
