"""The model inside the package, as the README shows it."""

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language

from pipelines import available_tasks, pipeline
from spacy_deberta import DebertaV2ForMaskedLM, embedded_path
from spacy_deberta.checkpoints import (
    EMBEDDED_FOLDER,
    EMBEDDED_PIPELINE,
    load_encoder,
    load_masked_lm_head,
)
from spacy_deberta.tokenizers import load_tokenizer

MEGABYTE = 1_000_000
LARGEST = 38  # megabytes of the pipeline with all tasks


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
        ("He has lived in New", "for ten years.", "york"),
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
    card = (EMBEDDED_PIPELINE / "README.md").read_text(encoding="utf-8")
    for name in ("MiniLM", "Apache-2.0", "CC BY-SA", "OpenStax", "not good for", "entity F1"):
        assert name in card


# --- its tasks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> Language:
    return spacy.load(embedded_path())


def test_the_pipeline_loads_and_annotates_a_text(embedded: Language) -> None:
    doc = embedded("Angela Merkel met Emmanuel Macron in Berlin. It was a wonderful evening.")
    assert [span.text for span in doc.ents] == ["Angela Merkel", "Emmanuel Macron", "Berlin"]
    assert doc[0].tag_ == "NNP"
    assert len(list(doc.sents)) == 2
    assert doc.cats["positive"] > 0.5
    assert all(0 < score <= 1 for score in doc.spans["ner"].attrs["scores"])


def test_all_tasks_share_one_encoder_and_fit_the_size_limit() -> None:
    files = [file for file in EMBEDDED_PIPELINE.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= LARGEST * MEGABYTE
    assert [file for file in files if file.name == "model.safetensors"] == [
        EMBEDDED_FOLDER / "model.safetensors"
    ]


def test_the_pipeline_names_no_path_of_the_machine_it_was_trained_on() -> None:
    for name in ("config.cfg", "meta.json"):
        assert "/" not in (EMBEDDED_PIPELINE / name).read_text(encoding="utf-8").replace(" / ", "")


def test_entities_are_found_offline() -> None:
    found = pipeline("ner")("Angela Merkel lives in Berlin.")
    assert [entity.text for entity in found] == ["Angela Merkel", "Berlin"]


def test_sentiment_is_told_offline() -> None:
    judge = pipeline("sentiment-analysis")
    assert judge("What a wonderful, moving film!").best.label == "positive"
    assert judge("A dull and boring waste of time.").best.label == "negative"


def test_questions_are_answered_offline() -> None:
    answer = pipeline("question-answering")
    context = (
        "The company was founded in 1998 by Larry Page and Sergey Brin while they were students "
        "at Stanford University in California."
    )
    found = answer(question="Who founded the company?", context=context)
    assert "Larry Page" in found.best.text


def test_labels_are_chosen_offline() -> None:
    found = pipeline("zero-shot-classification")(
        "The team won the match in the last minute.", candidate_labels=["cooking", "sport"]
    )
    assert found.scores[0].label == "sport"


def test_a_choice_is_made_offline() -> None:
    choices = ["The stove sang a song.", "He made a cup of tea."]
    found = pipeline("multiple-choice")(
        context="The man put the kettle on the stove.", choices=choices
    )
    assert found.text == choices[1]


def test_every_task_has_a_default() -> None:
    assert {pipeline(task).task for task in available_tasks()} == set(available_tasks())


def test_the_entity_pipeline_finds_what_the_component_does() -> None:
    nlp = spacy.load(embedded_path())
    texts = [
        "Linkin Park and Angela Merkel met Emmanuel Macron at Siemens in Wolfsburg.",
        "The Guggenheim in Bilbao was built by Frank Gehry for Krens.",
    ]
    for ner in (pipeline("ner"), pipeline("ner", nlp)):
        for text in texts:
            doc = nlp(text)
            found = ner(nlp.make_doc(text))
            (group,) = doc.spans.values()
            assert [(e.text, e.label) for e in found] == [(s.text, s.label_) for s in group]
            scores = [entity.score for entity in found]
            np.testing.assert_allclose(scores, group.attrs["scores"], atol=1e-5)
