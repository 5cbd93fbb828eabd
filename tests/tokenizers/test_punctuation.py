"""Texts cut at punctuation: every mark and every run between two is a text for the model."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.tokenizers import Pieces, UnigramTokenizer, load_tokenizer, train_unigram
from spacy_deberta.tokenizers.punctuation import LAST_PUNCTUATION, punctuation_runs

TEXTS = st.text(st.one_of(st.sampled_from("abIT .,'()@#_-+$“”¿ \n"), st.characters(codec="utf-8")))
CORPUS = [
    "the quiet garden, behind the station",
    "a letter (from) warsaw",
    "london can not wait",
] * 99


def is_punctuation(char: str) -> bool:
    """BERT's definition, written out: ASCII that is no letter, digit or space, or category P."""
    ascii_mark = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return ascii_mark or unicodedata.category(char).startswith("P")


@pytest.fixture(scope="module")
def plain() -> UnigramTokenizer:
    return train_unigram(CORPUS, n_pieces=288)


@pytest.fixture(scope="module")
def splitting(
    plain: UnigramTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> UnigramTokenizer:
    folder = tmp_path_factory.mktemp("splitting")
    plain.save(folder)
    return UnigramTokenizer((folder / "spm.model").read_bytes(), split_by_punct=True)


@given(TEXTS)
def test_runs_are_the_text_and_stand_alone_exactly_at_marks(text: str) -> None:
    runs = punctuation_runs([text])
    assert "".join(runs.texts) == text
    assert runs.starts.tolist() == [sum(map(len, runs.texts[:i])) for i in range(len(runs.texts))]
    for run in runs.texts:
        assert len(run) == 1 or not any(map(is_punctuation, run))
    neighbors = zip(runs.texts, runs.texts[1:], strict=False)
    assert all(is_punctuation(a[-1]) or is_punctuation(b[0]) for a, b in neighbors)


def test_no_punctuation_stands_behind_the_last_code_point_looked_at() -> None:
    behind = map(chr, range(LAST_PUNCTUATION + 1, sys.maxunicode + 1))
    assert not any(map(is_punctuation, behind))


@given(st.lists(TEXTS, max_size=4))
def test_pieces_are_those_of_each_run_with_spans_in_the_whole_text(
    plain: UnigramTokenizer, splitting: UnigramTokenizer, texts: list[str]
) -> None:
    for text, found in zip(texts, splitting.encode_batch(texts), strict=True):
        runs = punctuation_runs([text])
        parts = plain.encode_batch(runs.texts)
        assert found.ids.tolist() == [n for part in parts for n in part.ids.tolist()]
        starts = [part.starts + start for part, start in zip(parts, runs.starts, strict=True)]
        ends = [part.ends + start for part, start in zip(parts, runs.starts, strict=True)]
        assert found.starts.tolist() == np.concatenate([[], *starts]).tolist()
        assert found.ends.tolist() == np.concatenate([[], *ends]).tolist()


def test_marks_begin_anew_and_blank_runs_have_no_pieces(splitting: UnigramTokenizer) -> None:
    text = "the (garden) ,  the"
    found: Pieces = splitting.encode(text)
    spans = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    assert [text[a:b] for a, b in spans if a in (4, 11, 13)]
    assert all(text[a:b].strip() == text[a:b] != "" for a, b in spans)


def test_the_setting_survives_bytes_and_folders(
    splitting: UnigramTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("again")
    splitting.save(folder)
    wanted = splitting.encode("a(b)c").ids.tolist()
    for again in (load_tokenizer(folder), UnigramTokenizer.from_bytes(splitting.to_bytes())):
        assert again.encode("a(b)c").ids.tolist() == wanted
