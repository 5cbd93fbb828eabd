"""Texts, pairs, batches and words are told apart by their shape; anything else is named."""

import re
from typing import Any

import pytest

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.samples import read_samples


@pytest.mark.parametrize(
    ("text", "pair", "expected", "is_batch"),
    [
        ("a", None, [("a",)], False),
        ("a", "b", [("a", "b")], False),
        (["a", "b"], None, [("a",), ("b",)], True),
        (("a",), None, [("a",)], True),
        ([], None, [], True),
        (["a", "b"], ["c", "d"], [("a", "c"), ("b", "d")], True),
        ([("a", "c"), ["b", "d"]], None, [("a", "c"), ("b", "d")], True),
        (["a", ("b", "d")], None, [("a",), ("b", "d")], True),
    ],
)
def test_texts(text: Any, pair: Any, expected: Any, is_batch: bool) -> None:
    samples = read_samples(text, pair, in_words=False)
    assert (samples.texts, samples.is_batch) == (expected, is_batch)


@pytest.mark.parametrize(
    ("text", "pair", "expected", "is_batch"),
    [
        (["a", "b"], None, [(["a", "b"],)], False),
        ([], None, [([],)], False),
        (["a"], ["b", "c"], [(["a"], ["b", "c"])], False),
        ([["a"], ["b", "c"]], None, [(["a"],), (["b", "c"],)], True),
        ([[]], None, [([],)], True),
        ([["a"], []], [["b"], ["c"]], [(["a"], ["b"]), ([], ["c"])], True),
        ([(["a"], ["b"])], None, [(["a"], ["b"])], True),
    ],
)
def test_words(text: Any, pair: Any, expected: Any, is_batch: bool) -> None:
    samples = read_samples(text, pair, in_words=True)
    assert (samples.texts, samples.is_batch) == (expected, is_batch)


@pytest.mark.parametrize(
    ("text", "pair", "in_words", "message"),
    [
        (None, None, False, "text 0: found a NoneType, expected a string."),
        (["a", None], None, False, "text 1: found a NoneType, expected a string."),
        (["a", b"b"], None, False, "text 1: found a bytes, expected a string."),
        ([["a", "b", "c"]], None, False, "For words, pass is_split_into_words=True."),
        ("a", ["b"], False, "text 0: found a list, expected a string."),
        (["a"], "b", False, "text_pair: one str for 1 text(s)"),
        (["a"], ["b", "c"], False, "text_pair: 2 for 1 text(s)"),
        ("a b", None, True, "text 0: found a str, expected a list of words"),
        ([["a"], "b"], None, True, "text 1: found a str, expected a list of words"),
        (["a", 3], None, True, "text 0: word 1 is a int, expected a string"),
    ],
)
def test_what_is_no_text_is_named(text: Any, pair: Any, in_words: bool, message: str) -> None:
    with pytest.raises(TokenizerError, match=re.escape(message)):
        read_samples(text, pair, in_words=in_words)
