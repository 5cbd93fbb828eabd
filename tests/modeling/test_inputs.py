"""What is refused of the arguments, and in which words."""

from typing import Any

import pytest
import torch

from spacy_deberta.errors import ConfigError, DataError
from tests.modeling.models import make_ids, make_model

IDS = make_ids(2, 4)
MODEL = make_model("DebertaV2", "Model", type_vocab_size=2)
ABSOLUTE = make_model(
    "Deberta", "Model", position_biased_input=True, max_position_embeddings=9, type_vocab_size=2
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"input_ids, inputs_embeds: found neither, expected one of the two"),
        (
            {"input_ids": IDS, "inputs_embeds": torch.zeros(2, 4, 16)},
            r"input_ids, inputs_embeds: found both, expected one of the two",
        ),
        (
            {"input_ids": IDS[0]},
            r"input_ids: found shape \(4,\) of torch.int64, expected \(batch, length\) of integers",
        ),
        ({"input_ids": IDS.float()}, r"input_ids: found shape \(2, 4\) of torch.float32"),
        ({"input_ids": IDS[:, :0]}, r"input_ids: found shape \(2, 0\), expected at least one"),
        ({"input_ids": IDS + 38}, r"input_ids: found \d+, expected values from 0 to 39\."),
        ({"input_ids": -IDS}, r"input_ids: found -\d+, expected values from 0 to 39\."),
        (
            {"inputs_embeds": torch.zeros(2, 4, 15)},
            r"inputs_embeds: found shape \(2, 4, 15\) of torch.float32, expected \(batch, length, "
            r"16\) of floats",
        ),
        (
            {"input_ids": IDS, "attention_mask": torch.ones(2, 4, 4, dtype=torch.int64)},
            r"attention_mask: found shape \(2, 4, 4\) of torch.int64, expected \(2, 4\), one value",
        ),
        (
            {"input_ids": IDS, "attention_mask": torch.ones(2, 4)},
            r"attention_mask: .*torch.float32, expected integers or bool, 1 = a real piece",
        ),
        (
            {"input_ids": IDS, "attention_mask": IDS},
            r"attention_mask: found \d+, expected values from 0 to 1\.",
        ),
        (
            {"input_ids": IDS, "token_type_ids": IDS[:, :2]},
            r"token_type_ids: found shape \(2, 2\) of torch.int64, expected \(2, 4\), one value",
        ),
        (
            {"input_ids": IDS, "token_type_ids": torch.full((2, 4), 2)},
            r"token_type_ids: found 2, expected values from 0 to 1\.",
        ),
        (
            {"input_ids": IDS, "position_ids": torch.zeros(3, 4, dtype=torch.int64)},
            r"position_ids: found shape \(3, 4\) of torch.int64, expected \(2, 4\), one value",
        ),
    ],
)
def test_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        MODEL(**arguments)


def test_positions_beyond_the_table_are_refused_where_they_are_used() -> None:
    far = torch.full((1, 4), 9)
    assert MODEL(IDS, position_ids=far).last_hidden_state.isfinite().all()
    with pytest.raises(DataError, match=r"^position_ids: found 9, expected values from 0 to 8\."):
        ABSOLUTE(IDS, position_ids=far)
    with pytest.raises(ConfigError, match="a sequence has 12 pieces"):
        ABSOLUTE(make_ids(1, 12))


def test_padding_may_hold_any_number() -> None:
    """At the ends and between real pieces, in any of the arguments."""
    mask = torch.tensor([[1, 0, 1, 0]] * 2)
    zeros = torch.zeros_like(IDS)
    expected = ABSOLUTE(IDS, mask, zeros, zeros).last_hidden_state
    filled = IDS.masked_fill(mask == 0, -100)
    strange = zeros.masked_fill(mask == 0, 999)
    found = ABSOLUTE(filled, mask, strange, strange).last_hidden_state
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.uint8], ids=str)
def test_masks_and_ids_may_have_any_integer_type(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    expected = MODEL(IDS, mask).last_hidden_state
    assert torch.equal(MODEL(IDS.int(), mask.to(dtype)).last_hidden_state, expected)
