"""The model inside the package, as the README shows it."""

import numpy as np
import pytest
import spacy
import torch

from spacy_deberta import DebertaV2ForMaskedLM
from spacy_deberta.checkpoints import EMBEDDED_FOLDER, load_encoder, load_masked_lm_head
from spacy_deberta.tokenizers import load_tokenizer

MEGABYTE = 1_000_000


def test_the_readme_example_works_without_initialize() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("deberta")
    doc = nlp("Marie Curie moved to Paris.")
    assert doc.tensor.shape == (6, 384)
    assert doc._.deberta.coverage == 1.0
    assert np.isfinite(doc.vector).all()


@pytest.mark.filterwarnings("ignore:.*W007")  # spaCy's hint that there are no static vectors
def test_similar_sentences_are_nearer() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("deberta")
    doc = nlp("Marie Curie moved to Paris.")
    near, far = nlp("She moved to France."), nlp("Please buy some milk and bread tomorrow.")
    assert doc.similarity(near) > doc.similarity(far) + 0.1


def test_a_word_depends_on_its_context() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("deberta")
    money, river = nlp("I put money in the bank")[-1], nlp("We sat on the river bank")[-1]
    cosine = money.vector @ river.vector / (money.vector_norm * river.vector_norm)
    assert cosine < 0.9


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("Paris is the", "of France.", "capital"),
        ("The president of the United", "spoke on Monday.", "states"),
    ],
)
def test_masks_are_filled_with_sense(before: str, after: str, wanted: str) -> None:
    model = DebertaV2ForMaskedLM.from_pretrained(None)
    tokenizer = load_tokenizer(EMBEDDED_FOLDER)
    left, right = (tokenizer.encode(text).ids.tolist() for text in (before, after))
    ids = [tokenizer.cls_id, *left, tokenizer.mask_id, *right, tokenizer.sep_id]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, len(left) + 1]
    assert tokenizer.piece(int(logits.argmax())) == "\u2581" + wanted


def test_case_and_accents_do_not_matter() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("deberta")
    np.testing.assert_array_equal(nlp("Café in Paris").tensor, nlp("CAFE IN PARIS").tensor)


def test_encoder_head_and_tokenizer_fit_each_other_and_the_size_limit() -> None:
    encoder = load_encoder(EMBEDDED_FOLDER)
    head = load_masked_lm_head(EMBEDDED_FOLDER, encoder)
    tokenizer = load_tokenizer(EMBEDDED_FOLDER)
    assert tokenizer.n_pieces <= encoder.config.vocab_size == head.bias.shape[0]
    assert (EMBEDDED_FOLDER / "model.safetensors").stat().st_size <= 32 * MEGABYTE
    assert encoder.config.layer_norm_eps == 1e-12


def test_the_card_names_origin_licences_and_limits() -> None:
    card = (EMBEDDED_FOLDER / "README.md").read_text(encoding="utf-8")
    for name in ("MiniLM", "Apache-2.0", "CC BY-SA", "OpenStax", "not good for", "entity F1"):
        assert name in card
