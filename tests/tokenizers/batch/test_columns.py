"""Columns are padded with what each of them has for padding, and become lists or tensors."""

import numpy as np
import pytest
import torch

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.columns import pad_columns, read_columns, to_values
from spacy_deberta.tokenizers.batch.options import Padding


def columns() -> dict[str, list[np.ndarray]]:
    return {
        "input_ids": [np.array([1, 7, 2]), np.array([1, 2])],
        "special_tokens_mask": [np.array([1, 0, 1]), np.array([1, 1])],
        "attention_mask": [np.array([1, 1, 1]), np.array([1, 1])],
        "token_type_ids": [np.array([0, 0, 1]), np.array([1, 1])],
        "offset_mapping": [np.array([(0, 0), (0, 3), (0, 0)]), np.array([(0, 0), (4, 5)])],
        "labels": [np.array(1), np.array(0)],
    }


@pytest.mark.parametrize("side", ["right", "left"])
def test_every_column_has_its_own_padding(side: str) -> None:
    padded = pad_columns(columns(), Padding("longest", side=side), pad_id=9)
    place = 0 if side == "left" else -1
    labels = padded.pop("labels")
    assert {name: rows[1][place].tolist() for name, rows in padded.items()} == {
        "input_ids": 9,
        "special_tokens_mask": 1,
        "attention_mask": 0,
        "token_type_ids": 0,
        "offset_mapping": [0, 0],
    }
    expected = [9, 1, 2] if side == "left" else [1, 2, 9]
    assert padded["input_ids"][1].tolist() == expected
    assert padded["input_ids"][0].tolist() == [1, 7, 2]
    assert [row.tolist() for row in labels] == [1, 0]


def test_lists_hold_numbers_and_offsets_pairs() -> None:
    values = to_values(columns(), None)
    assert values["input_ids"] == [[1, 7, 2], [1, 2]]
    assert values["offset_mapping"][1] == [(0, 0), (4, 5)]
    assert values["labels"] == [1, 0]


def test_tensors_are_64_bit_rectangles() -> None:
    padded = pad_columns(columns(), Padding("longest"), pad_id=9)
    torches, arrays = to_values(padded, "pt"), to_values(padded, "np")
    assert torches["input_ids"].dtype == torch.int64
    assert torches["offset_mapping"].shape == (2, 3, 2)
    assert arrays["labels"].dtype == np.int64
    assert all(np.array_equal(arrays[name], torches[name].numpy()) for name in arrays)


def test_numbers_with_fractions_are_float32() -> None:
    given = {"input_ids": [np.array([1])], "labels": [np.array(0.5)]}
    assert to_values(given, "pt")["labels"].dtype == torch.float32


def test_no_rows_are_an_empty_rectangle() -> None:
    assert to_values({"input_ids": []}, "pt")["input_ids"].shape == (0, 0)


def test_rows_of_different_lengths_are_no_tensor() -> None:
    with pytest.raises(TokenizerError, match=r"input_ids has rows of shapes \(2,\) to \(3,\)"):
        to_values(columns(), "np")


def test_columns_are_read_by_batch_by_row_and_alone() -> None:
    by_batch, is_batch = read_columns({"input_ids": torch.tensor([[1, 2], [3, 4]])})
    assert is_batch
    assert [row.tolist() for row in by_batch["input_ids"]] == [[1, 2], [3, 4]]
    by_row, is_batch = read_columns(
        [{"input_ids": [1], "labels": 2}, {"input_ids": [], "labels": 0}]
    )
    assert is_batch
    assert [row.tolist() for row in by_row["labels"]] == [2, 0]
    alone, is_batch = read_columns({"input_ids": [1, 2], "labels": 3})
    assert not is_batch
    assert [row.tolist() for row in alone["input_ids"]] == [[1, 2]]
    assert read_columns([]) == ({"input_ids": []}, True)


def test_rows_without_piece_numbers_or_of_other_columns_are_refused() -> None:
    with pytest.raises(TokenizerError, match="no input_ids among the columns labels"):
        read_columns({"labels": [1]})
    with pytest.raises(TokenizerError, match="row 1 has the columns labels; the first has input_"):
        read_columns([{"input_ids": [1]}, {"labels": 1}])
