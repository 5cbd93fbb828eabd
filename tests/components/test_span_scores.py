"""Entities are added beside those that are there, and never on blocked tokens."""

from pathlib import Path

import pytest
import spacy
from spacy.tokens import Span

from spacy_deberta.components.span_scores import add_entities
from spacy_deberta.errors import PipelineError
from tests.tiny import ner_examples, tiny_nlp


def test_blocked_tokens_stay_blocked() -> None:
    doc = spacy.blank("en")("Angela Merkel met Emmanuel Macron .")
    doc.set_ents([], blocked=[doc[0:2]], default="missing")
    add_entities(doc, [Span(doc, 0, 2, "PER"), Span(doc, 3, 5, "PER")])
    assert [entity.text for entity in doc.ents] == ["Emmanuel Macron"]
    assert [token.ent_iob for token in doc] == [3, 3, 2, 3, 1, 2]
    add_entities(doc, [Span(doc, 1, 2, "PER")])
    assert [entity.text for entity in doc.ents] == ["Emmanuel Macron"]


def test_of_spans_that_overlap_the_first_is_added() -> None:
    doc = spacy.blank("en")("Angela Merkel met Macron")
    add_entities(doc, [Span(doc, 0, 2, "PER"), Span(doc, 1, 3, "ORG"), Span(doc, 3, 4, "PER")])
    assert [(entity.text, entity.label_) for entity in doc.ents] == [
        ("Angela Merkel", "PER"),
        ("Macron", "PER"),
    ]


def test_labels_without_weights_are_told(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    ner = nlp.add_pipe("deberta_ner")
    with pytest.raises(PipelineError, match="no labels; call"):
        nlp.update(ner_examples(nlp))
    ner.add_label("NAME")
    for act in (lambda: nlp.update(ner_examples(nlp)), lambda: ner.predict([nlp.make_doc("A")])):
        with pytest.raises(PipelineError, match="no weights yet; call"):
            act()
