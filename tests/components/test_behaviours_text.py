"""Behaviours 1 to 14 of a spaCy encoder: which pieces a token gets, and what batches change."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import spacy
from spacy.tokens import Doc

from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, tiny_nlp

ODD_TEXTS = (
    "ﬁne … ｆｕｌｌ Ⅸ ½",  # noqa: RUF001  (NFKC changes their number of characters)
    "zero\u200bwidth soft\u00adhyphen a\x10b \ufeffbom",
    "👩‍👩‍👧‍👦 e\u0301a\u0308 नमस्ते مرحبا 東京タワー",
    "\nMarie is\tin\u00a0Paris \u3000 now",
    "[MASK] of [CLS] and <s> or <unk> [SEP]",
    "don't New-York www.a-b.c/d?e=f",
)


@pytest.mark.parametrize("text", [*TEXTS, *ODD_TEXTS])
def test_a_token_has_its_own_characters_and_no_other_tokens(tiny_source: Path, text: str) -> None:
    """Rows 1 and 4: each visible token has pieces, all of them inside it or around it."""
    doc = tiny_nlp(tiny_source)(text)
    view = doc._.deberta

    assert (np.diff(view.starts) >= 0).all()
    assert (view.starts <= view.ends).all()
    for token in doc:
        start, end = token.idx, token.idx + len(token)
        pieces = view.pieces_of(token.i)
        if any(_is_visible(character) for character in token.text):
            assert len(pieces), token.text
        for first, last in zip(view.starts[pieces], view.ends[pieces], strict=True):
            assert max(first, start) < min(last, end)  # they share a character
            assert not doc.text[first].isspace()  # the space before a word is not part of it
    assert np.isfinite(doc.tensor).all()


def _is_visible(character: str) -> bool:
    return character.isalnum()


@pytest.mark.parametrize("space", [" ", "  ", "\n\n", "\t", "\u00a0", "\u3000"])
def test_a_whitespace_token_has_no_piece_and_changes_no_neighbour(
    tiny_source: Path, space: str
) -> None:
    """Row 2."""
    nlp = tiny_nlp(tiny_source)
    doc = nlp(Doc(nlp.vocab, words=["Marie", space, "moved"], spaces=[False, False, False]))

    view = doc._.deberta
    assert not len(view.pieces_of(1))
    assert not doc.tensor[1].any()
    pieces = [view.pieces_of(i) for i in (0, 2)]
    texts = [doc.text[view.starts[own[0]] : view.ends[own[-1]]] for own in pieces]
    assert texts == ["Marie", "moved"]
    assert view.coverage == 1.0


@pytest.mark.parametrize("text", [*TEXTS, *ODD_TEXTS[:4], ODD_TEXTS[5]])
def test_the_pieces_are_those_of_sentencepiece(
    tiny_source: Path, tiny_spm_folder: Path, text: str
) -> None:
    """Row 3: the text is split as a whole, as the checkpoint was trained."""
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tiny_spm_folder / "spm.model"))

    found = tiny_nlp(tiny_source)(text)._.deberta.ids.tolist()

    assert found == reference.encode(text)


def test_special_pieces_in_a_text_are_text(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Row 5."""
    doc = tiny_nlp(tiny_source)(ODD_TEXTS[4])

    special = {tiny_tokenizer.cls_id, tiny_tokenizer.sep_id, tiny_tokenizer.mask_id}
    assert not special & set(doc._.deberta.ids.tolist())


def test_words_that_the_tokenizer_would_not_make_are_aligned_by_characters(
    tiny_source: Path,
) -> None:
    """Row 6."""
    nlp = tiny_nlp(tiny_source)
    doc = nlp(Doc(nlp.vocab, words=["win", "dowgar", "den", "the"], spaces=[0, 0, 1, 0]))

    view = doc._.deberta
    for token in doc:
        pieces = view.pieces_of(token.i)
        assert view.starts[pieces[0]] <= token.idx
        assert view.ends[pieces[-1]] >= token.idx + len(token)


def test_a_token_longer_than_a_window_and_its_neighbours_have_vectors(tiny_source: Path) -> None:
    """Row 7."""
    doc = tiny_nlp(tiny_source)(f"the {'river' * 60} crossed {'xq' * 50} the")

    assert all(len(doc._.deberta.pieces_of(i)) for i in range(len(doc)))
    assert len(doc._.deberta.pieces_of(1)) > 12  # the window
    assert doc.tensor.any(axis=1).all()


def test_empty_docs_in_a_batch_change_nothing(tiny_source: Path) -> None:
    """Rows 11 and 13."""
    nlp = tiny_nlp(tiny_source)

    docs = list(nlp.pipe(["", TEXTS[0], "", " ", TEXTS[1]], batch_size=5))

    assert [doc.tensor.shape for doc in docs] == [(len(doc), 16) for doc in docs]
    np.testing.assert_allclose(docs[1].tensor, nlp(TEXTS[0]).tensor, atol=1e-5)
    assert [doc.tensor.shape for doc in nlp.pipe(["", ""])] == [(0, 16), (0, 16)]


def test_the_budget_bounds_what_goes_through_the_encoder_at_once(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 14: also for one long Doc, and in training."""
    nlp = tiny_nlp(tiny_source, batch_pieces=48)
    model = nlp.get_pipe("deberta").model
    encoder = shim_of(model).encoder
    forward, seen = encoder.forward, []

    def forward_and_note(ids: Any, *others: Any, **settings: Any) -> Any:
        seen.append(len(ids))
        return forward(ids, *others, **settings)

    monkeypatch.setattr(encoder, "forward", forward_and_note)

    doc = nlp(" ".join(TEXTS * 20))
    model.begin_update([doc])

    assert len(seen) > 40
    assert max(seen) <= 48


def test_a_blank_pipeline_of_another_language_works(tiny_source: Path) -> None:
    """Row 4: whatever the tokenizer of the language makes."""
    nlp = spacy.blank("xx")
    nlp.add_pipe("deberta", config={"model": {"source": str(tiny_source)}})

    assert nlp(ODD_TEXTS[2]).tensor.any(axis=1).sum() >= 4
