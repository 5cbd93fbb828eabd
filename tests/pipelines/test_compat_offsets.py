"""Offsets and words of the fast tokenizers; special pieces typed in a text begin both anew.

Expected values are those of transformers 4.57.6: DebertaTokenizerFast and DebertaV2TokenizerFast
from the folders in `tokenizers`, `return_offsets_mapping=True` and `word_ids()`.
"""

import pytest

from pipelines.compat_offsets import fast_offsets
from tests.pipelines.models import Family, tokenizer_of


@pytest.mark.parametrize(
    ("family", "text", "offsets", "words"),
    [
        ("v1", "Marie  [MASK] Curie", "0:1 1:3 3:5 5:13 13:19", "0 0 0 1 2"),
        (
            "v1",
            "a [MASK]Paris\n[SEP]don't ½",
            "0:1 1:8 8:9 9:13 13:14 14:19 19:20 20:22 22:24 24:25 25:26 25:26",
            "0 1 2 2 3 4 5 5 6 7 7 7",
        ),
        ("v1", "x[UNK]\tMarie", "0:1 1:6 6:7 7:8 8:10 10:12", "0 1 2 3 3 3"),
        (
            "v1",
            " Marie [CLS] café",
            "0:6 6:7 7:12 12:14 14:15 15:16 16:17 16:17",
            "0 1 2 3 3 3 3 3",
        ),
        ("v3", "Marie  [MASK] Curie", "0:5 7:13 14:19", "0 1 2"),
        (
            "v3",
            "a [MASK]Paris\n[SEP]don't ½",
            "0:1 2:8 8:13 14:19 19:22 22:23 23:24 24:25 25:26 25:26 25:26",
            "0 1 2 3 4 4 4 5 5 5 5",
        ),
        ("v3", "x[UNK]\tMarie", "0:1 0:1 1:6 6:12", "0 0 1 2"),
        ("v3", " Marie [CLS] café", "1:6 7:12 13:17", "0 1 2"),
    ],
)
def test_offsets_and_words_are_those_of_the_fast_tokenizers(
    family: Family, text: str, offsets: str, words: str
) -> None:
    found = fast_offsets(tokenizer_of(family).core, text)
    assert " ".join(f"{a}:{b}" for a, b in zip(found.starts, found.ends, strict=True)) == offsets
    assert found.words.tolist() == [int(word) for word in words.split()]


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_a_text_of_nothing_has_no_offsets(family: Family) -> None:
    assert len(fast_offsets(tokenizer_of(family).core, "").starts) == 0
