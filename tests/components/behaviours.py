"""Pipelines whose behaviours are tested, and what is compared of them."""

from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language

from tests.tiny import NER_MODEL, TEXTS


def encoder_nlp(source: Path, *, keep: str = "pieces") -> Language:
    nlp = spacy.blank("en")
    model = {"source": str(source), "window": 12, "stride": 6}
    nlp.add_pipe("deberta", config={"model": model, "keep": keep})
    return nlp


def task_nlp(source: Path) -> Language:
    nlp = encoder_nlp(source)
    nlp.add_pipe("ner", config={"model": NER_MODEL})
    return nlp


def rows(nlp: Language) -> list[Any]:
    return [doc.tensor for doc in nlp.pipe(TEXTS)]
