"""Arguments that are known are read, others refused with what they could be."""

import re
from typing import Any

import pytest

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.options import (
    Padding,
    check_count,
    check_side,
    check_tensors,
    read_padding,
    read_truncation,
)

UNLIMITED = 1e30


def padding(value: Any, **changes: Any) -> Padding:
    settings = {"max_length": None, "model_max_length": UNLIMITED, "multiple_of": None}
    return read_padding(value, side="right", **{**settings, **changes})


@pytest.mark.parametrize(
    ("value", "changes", "expected"),
    [
        (False, {}, [3, 9]),
        ("do_not_pad", {"multiple_of": 8}, [3, 9]),
        (True, {}, [9, 9]),
        ("longest", {"multiple_of": 4}, [12, 12]),
        ("max_length", {"max_length": 5}, [5, 9]),
        ("max_length", {"max_length": 5, "multiple_of": 8}, [8, 9]),
        ("max_length", {"model_max_length": 10.0}, [10, 10]),
    ],
)
def test_widths_of_rows(value: Any, changes: dict[str, Any], expected: list[int]) -> None:
    assert padding(value, **changes).widths([3, 9]) == expected


def test_an_empty_batch_has_no_widths() -> None:
    assert padding(True).widths([]) == []


@pytest.mark.parametrize(
    ("truncation", "max_length", "is_padded", "expected"),
    [
        (None, None, False, ("do_not_truncate", None)),
        (None, 7, False, ("longest_first", 7)),
        (None, 7, True, ("do_not_truncate", 7)),
        (False, 7, False, ("do_not_truncate", 7)),
        (True, 7, False, ("longest_first", 7)),
        ("only_second", 7, True, ("only_second", 7)),
    ],
)
def test_truncation_is_read(
    truncation: Any, max_length: int | None, is_padded: bool, expected: tuple[str, int | None]
) -> None:
    found = read_truncation(
        truncation, max_length=max_length, model_max_length=UNLIMITED, is_padded=is_padded
    )
    assert found == expected


def test_the_models_length_stands_in_for_max_length() -> None:
    found = read_truncation(True, max_length=None, model_max_length=512, is_padded=False)
    assert found == ("longest_first", 512)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: padding("longes"), "padding='longes', expected one of False, True, 'do_not_pad'"),
        (lambda: padding("max_length"), "neither max_length nor model_max_length is set"),
        (
            lambda: padding(True, multiple_of=0),
            "pad_to_multiple_of=0, expected a whole number of 1",
        ),
        (
            lambda: padding(True, max_length=-1),
            "max_length=-1, expected a whole number of 0 or more",
        ),
        (
            lambda: read_truncation("x", max_length=1, model_max_length=9, is_padded=False),
            "truncation='x', expected one of None, False, True, 'longest_first'",
        ),
        (lambda: check_tensors("tf"), "return_tensors='tf', expected one of None, 'pt', 'np'"),
        (lambda: check_side("padding_side", "top"), "padding_side='top', expected one of 'right'"),
        (lambda: check_count("stride", 1.5, 0), "stride=1.5, expected a whole number"),  # type: ignore[arg-type]
        (lambda: check_count("stride", True, 0), "stride=True, expected a whole number"),
    ],
)
def test_what_is_not_known_is_refused(call: Any, message: str) -> None:
    with pytest.raises(TokenizerError, match=re.escape(message)):
        call()
