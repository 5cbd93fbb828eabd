"""Formats of multiple-choice data, the rows of a pair, and probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.decoding.choices import (
    FORMATS,
    PairFrame,
    choice_probabilities,
    lay_pair,
    read_question,
)
from spacy_deberta.errors import InputError

ROWS = {
    "swag": {"sent1": "He opens the door.", "sent2": "He", "ending0": "sings", "ending1": "sits"},
    "hellaswag": {"ctx_a": "A.", "ctx_b": "he", "ctx": "A. he", "endings": ["x", "y"]},
    "copa": {"premise": "I fell.", "question": "cause", "choice1": "It rained.", "choice2": "No."},
    "piqa": {"goal": "Boil", "sol1": "heat", "sol2": "cool"},
    "siqa": {"context": "C.", "question": "Q?", "answerA": "x", "answerB": "y", "answerC": "z"},
    "winogrande": {"sentence": "It fits as _ is big.", "option1": "the box", "option2": "the cup"},
    "race": {"article": "A\n b", "question": "Q ?", "options": ["x", "y"]},
    "dream": {"dialogue": ["W: hi", "M: no"], "question": "Q?", "choice": ["x", "y"]},
    "cosmosqa": {"context": "C", "question": "Q?", "answer0": "x", "answer1": "y"},
    "openbookqa": {"question_stem": "Q?", "fact1": "F.", "choices": ["x", "y"]},
    "commonsenseqa": {"question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}},
    "plain": {"context": "C", "choices": ["x", "y"]},
}
PAIRS = {
    "swag": [("He opens the door.", "He sings"), ("He opens the door.", "He sits")],
    "hellaswag": [("A.", "he x"), ("A.", "he y")],
    "copa": [("I fell.", "because it rained."), ("I fell.", "because no.")],
    "piqa": [("Boil", "heat"), ("Boil", "cool")],
    "siqa": [("C. Q?", "x"), ("C. Q?", "y"), ("C. Q?", "z")],
    "winogrande": [("It fits as the box", "is big."), ("It fits as the cup", "is big.")],
    "race": [("A b", "Q ? x"), ("A b", "Q ? y")],
    "dream": [("W: hi M: no", "Q? x"), ("W: hi M: no", "Q? y")],
    "cosmosqa": [("C", "Q? x"), ("C", "Q? y")],
    "openbookqa": [("F. Q?", "x"), ("F. Q?", "y")],
    "commonsenseqa": [("Q?", "x"), ("Q?", "y")],
    "plain": [("C", "x"), ("C", "y")],
}
FRAME = PairFrame(cls_id=1, sep_id=2, limit=12)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("format", ["auto", "named"])
def test_each_format_reads_its_own_fields(name: str, format: str) -> None:
    found = read_question(ROWS[name], name if format == "named" else "auto")
    assert list(found.pairs) == PAIRS[name]
    assert len(found.choices) == len(found.pairs)
    assert found.gold is None


def test_every_format_is_tested() -> None:
    assert set(FORMATS) - set(ROWS) == {"reclor", "arc"}  # the same as cosmosqa, commonsenseqa


@pytest.mark.parametrize(
    ("fields", "gold"),
    [
        ({**ROWS["swag"], "label": 1}, 1),
        ({**ROWS["hellaswag"], "label": "1"}, 1),
        ({**ROWS["hellaswag"], "label": ""}, None),
        ({**ROWS["copa"], "label": -1}, None),
        ({**ROWS["siqa"], "label": "3"}, 2),
        ({**ROWS["winogrande"], "answer": "1"}, 0),
        ({**ROWS["race"], "answer": "B"}, 1),
        ({**ROWS["dream"], "answer": "y"}, 1),
        ({**ROWS["commonsenseqa"], "answerKey": "B"}, 1),
        ({"question": {"stem": "Q", "choices": [{"text": "x", "label": "1"}, {"text": "y", "label":
            "2"}]}, "answerKey": "2"}, 1),
        ({**ROWS["plain"], "answerKey": "1"}, 0),
    ],
)  # fmt: skip
def test_the_right_choice_is_found_as_each_data_set_writes_it(
    fields: dict[str, object], gold: int | None
) -> None:
    assert read_question(fields).gold == gold


def test_a_cloze_question_is_filled_only_if_asked() -> None:
    row = {"article": "A", "question": "He is _ .", "options": ["old", "ill"]}
    assert read_question(row).pairs[1] == ("A", "He is _ . ill")
    assert read_question(row, cloze=True).pairs[1] == ("A", "He is ill .")
    assert read_question({**row, "question": "Who?"}, cloze=True).pairs[1] == ("A", "Who? ill")
    assert read_question(row).second_limit == 160


@pytest.mark.parametrize(
    ("fields", "format", "message"),
    [
        ({"context": "C", "choices": ["x"]}, "auto", "found 1 among the fields context, choices"),
        ({"context": "C", "choices": ["x", 3]}, "auto", r"choices\[1\]: found int, expected text"),
        ({"text_": "C", "choices": ["x", "y"]}, "auto", "no known format.*format= one of swag"),
        ({"context": "C", "choices": ["x", "y"]}, "FOO", "format='FOO': expected auto, swag"),
        ({"context": "C", "choices": ["x", "y"], "label": 2}, "auto", "label=2: expected one of"),
        ({"goal": "C", "choices": ["x", "y"]}, "swag", "sent1 or ctx_a or ctx: not among"),
        ({"sentence": "no gap", "option1": "x", "option2": "y"}, "auto", "expected a _ where"),
        ({**ROWS["copa"], "question": "why"}, "auto", "expected cause or effect"),
        ("text", "auto", "found str, expected the fields"),
    ],
)
def test_fields_that_cannot_be_read_are_named(fields: object, format: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_question(fields, format)  # type: ignore[arg-type]


def test_a_pair_is_framed_as_two_segments() -> None:
    (row,) = lay_pair([5, 6], [7], FRAME)
    assert row.ids == [1, 5, 6, 2, 7, 2]
    assert row.types == [0, 0, 0, 0, 1, 1]
    assert row.n_cut == 0


@pytest.mark.parametrize(
    ("long", "kept"), [("head", [0, 1, 2, 3, 4, 5]), ("tail", [*range(4, 10)])]
)
def test_only_the_context_is_cut(long: str, kept: list[int]) -> None:
    frame = PairFrame(1, 2, 12, long)
    (row,) = lay_pair(range(10, 20), [7, 8, 9], frame)
    assert row.ids == [1, *(10 + piece for piece in kept), 2, 7, 8, 9, 2]
    assert row.n_cut == 4


@given(st.integers(0, 60), st.integers(0, 8))
def test_windows_show_every_piece_of_the_context(n_first: int, n_second: int) -> None:
    first, second = list(range(100, 100 + n_first)), list(range(50, 50 + n_second))
    rows = lay_pair(first, second, PairFrame(1, 2, 12, "window"))
    assert {piece for row in rows for piece in row.ids if piece >= 100} == set(first)
    assert all(len(row.ids) <= 12 and row.ids[len(row.ids) - n_second - 1 : -1] == second
               for row in rows)  # fmt: skip
    assert all(len(row.types) == len(row.ids) and row.n_cut == 0 for row in rows)


def test_a_choice_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(InputError, match=r"a choice of 9 pieces leaves no room.*rows of 12"):
        lay_pair([5], [7] * 9, FRAME)
    assert len(lay_pair([], [7] * 9, FRAME)[0].ids) == 12


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8), st.floats(0.1, 10))
def test_probabilities_sum_to_one_and_keep_the_order(
    logits: list[float], temperature: float
) -> None:
    found = choice_probabilities(logits, temperature)
    assert found.sum() == pytest.approx(1)
    assert found.argmax() == int(np.argmax(logits)) or len(set(found)) < len(found)
