"""What is no JSON, or cannot stand in a Doc, is named with its place."""

import pytest

from spacy_deberta.errors import DataError
from spacy_deberta.json_text import read_json


def test_values_are_read() -> None:
    assert read_json('{"a": [1, 2.5, null, "\\u00e9\\ud83d\\ude00"]}', "x") == {
        "a": [1, 2.5, None, "é😀"]
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "no JSON"),
        ('{"score": NaN}', "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ("1e999", "1e999 is no number"),
        ("1" * 5001, "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["a \\ud83d b"]', r"lone surrogate \\ud83d"),
    ],
)
def test_everything_else_is_refused(text: str, found: str) -> None:
    with pytest.raises(DataError, match=f"a.jsonl, line 3: .*{found}"):
        read_json(text, "a.jsonl, line 3")
