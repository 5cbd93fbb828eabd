from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_deberta.thinc_layers.pieces import split_docs
from spacy_deberta.thinc_layers.types import EncoderSettings
from spacy_deberta.thinc_layers.windows import pack_docs
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, make_docs


def settings(window: int = 12, stride: int = 6, batch_pieces: int = 30) -> EncoderSettings:
    return EncoderSettings(window, stride, "mean", batch_pieces)


@pytest.mark.parametrize("budget", [1, 13, 30, 10_000])
def test_each_token_points_at_the_rows_of_its_own_pieces(
    tiny_tokenizer: UnigramTokenizer, budget: int
) -> None:
    docs = split_docs(tiny_tokenizer, make_docs(["", *TEXTS, "  ", *TEXTS]))

    batch = pack_docs(docs, tiny_tokenizer, settings(batch_pieces=budget))

    wanted = [doc.pieces.ids[doc.alignment.pieces] for doc in docs]
    assert batch.ids[batch.index].tolist() == np.concatenate(wanted).tolist()
    lengths = [doc.alignment.lengths for doc in docs]
    assert batch.rows_per_token.tolist() == np.concatenate(lengths).tolist()


def test_a_micro_batch_keeps_to_the_budget(tiny_tokenizer: UnigramTokenizer) -> None:
    docs = split_docs(tiny_tokenizer, make_docs(TEXTS * 5))

    batch = pack_docs(docs, tiny_tokenizer, settings(batch_pieces=30))

    ends = np.cumsum(batch.n_windows)
    parts = np.split(batch.lengths, ends[:-1])
    assert len(parts) > 1
    assert all(part.sum() <= 30 for part in parts)
    assert batch.lengths.sum() == len(batch.ids)


def test_each_window_begins_and_ends_with_its_special_pieces(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    docs = split_docs(tiny_tokenizer, make_docs(TEXTS))

    batch = pack_docs(docs, tiny_tokenizer, settings())

    ends = np.cumsum(batch.lengths)
    assert set(batch.ids[ends - 1]) == {tiny_tokenizer.sep_id}
    assert set(batch.ids[ends - batch.lengths]) == {tiny_tokenizer.cls_id}


@given(st.lists(st.sampled_from(["", " ", "a", "river", "Marie Curie wrote a letter " * 3])))
def test_any_mixture_of_docs_packs(tiny_tokenizer: UnigramTokenizer, texts: Sequence[str]) -> None:
    docs = split_docs(tiny_tokenizer, make_docs(texts))

    batch = pack_docs(docs, tiny_tokenizer, settings())

    assert len(batch.rows_per_token) == sum(len(doc.alignment.lengths) for doc in docs)
    assert sum(batch.n_windows) == len(batch.lengths)


def test_whitespace_tokens_have_no_pieces(tiny_tokenizer: UnigramTokenizer) -> None:
    doc = make_docs([" \n the river\t\u00a0"])[0]

    (pieces,) = split_docs(tiny_tokenizer, [doc])

    spaces = np.array([token.is_space for token in doc])
    assert spaces.sum() >= 2
    assert not pieces.alignment.lengths[spaces].any()
    assert pieces.alignment.lengths[~spaces].all()


def test_tokens_that_are_not_the_tokenizers_own_are_aligned_by_characters(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    doc = Doc(Vocab(), words=["r", "iver", "mountain", "s"], spaces=[False, True, False, False])

    (pieces,) = split_docs(tiny_tokenizer, [doc])

    assert pieces.alignment.lengths.all()
    assert doc.text == "river mountains"
