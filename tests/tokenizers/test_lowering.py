"""Lower case changes the pieces; spans stay in the caller's string."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.tokenizers import UnigramTokenizer


@pytest.fixture(scope="module")
def lowering(tiny_tokenizer: UnigramTokenizer) -> UnigramTokenizer:
    model = tiny_tokenizer.vocabulary_files()["spm.model"]
    return UnigramTokenizer(model, do_lower_case=True)


TEXTS = st.text(st.sampled_from("İiI Σς aAﬁ½ẞẛ☃The\n"), max_size=20)


@settings(max_examples=100)
@given(text=TEXTS)
def test_pieces_are_those_of_the_lower_case_text(
    lowering: UnigramTokenizer, tiny_tokenizer: UnigramTokenizer, text: str
) -> None:
    lowered = "".join(char.lower() for char in text)
    expected = tiny_tokenizer.encode(lowered)
    found = lowering.encode(text)
    assert found.ids.tolist() == expected.ids.tolist()
    owners = [place for place, char in enumerate(text) for _ in char.lower()]
    for start, end, low_start, low_end in zip(
        found.starts, found.ends, expected.starts, expected.ends, strict=True
    ):
        assert start == owners[low_start]
        assert end == owners[low_end - 1] + 1


def test_both_characters_of_a_dotted_capital_have_its_span(lowering: UnigramTokenizer) -> None:
    pieces = lowering.encode("a İ b")
    spans = set(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True))
    assert spans == {(0, 1), (2, 3), (4, 5)}


def test_spans_behind_a_dotted_capital_are_not_moved_in_a_batch(
    lowering: UnigramTokenizer,
) -> None:
    first, second = lowering.encode_batch(["İİ THE", "THE"])
    assert (first.starts[-1], first.ends[-1]) == (3, 6)
    assert (second.starts[-1], second.ends[-1]) == (0, 3)


def test_copies_lower_too(lowering: UnigramTokenizer) -> None:
    copy = UnigramTokenizer.from_bytes(lowering.to_bytes())
    assert copy.encode("THE OLD").ids.tolist() == lowering.encode("the old").ids.tolist()


def test_only_sigma_depends_on_its_neighbors() -> None:
    """What lower_texts replaces before it lowers a text as a whole."""
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code < 0xE000 and code != ord("Σ"):
            char = chr(code)
            assert f"a{char}".lower() == f"a{char.lower()}"
