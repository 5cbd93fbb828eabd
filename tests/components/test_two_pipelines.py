"""A component that is added to a second pipeline by `source=` stands in both."""

import copy
import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from tests.components.textcats import LISTENER, MODEL, TEXTS
from tests.tiny import add_encoder, ner_examples, tiny_nlp

HEADS = ("textcat", "ner")


def make(source: Path, kind: str) -> tuple[Language, list[Example]]:
    nlp = tiny_nlp(source)
    if kind == "textcat":
        nlp.add_pipe("deberta_textcat", name=kind, config={"model": {**MODEL, "tok2vec": LISTENER}})
        golds = [{"cats": {"a": float(n % 2), "b": float(1 - n % 2)}} for n in range(len(TEXTS))]
        texts = zip(TEXTS, golds, strict=True)
        examples = [Example.from_dict(nlp.make_doc(text), gold) for text, gold in texts]
    else:
        nlp.add_pipe("deberta_ner", name=kind)
        examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples


@pytest.mark.parametrize("kind", HEADS)
def test_the_source_keeps_its_encoder(tiny_source: Path, other_source: Path, kind: str) -> None:
    first, examples = make(tiny_source, kind)
    before = first(TEXTS[0]).to_bytes()
    second = tiny_nlp(other_source)
    second.add_pipe(kind, source=first)

    assert second(TEXTS[0]).tensor is not None
    assert first(TEXTS[0]).to_bytes() == before
    losses: dict[str, float] = {}
    first.update(examples, losses=losses, sgd=first.resume_training())
    assert losses["deberta"] > 0


@pytest.mark.parametrize("kind", HEADS)
def test_each_pipeline_uses_its_own_encoder(
    tiny_source: Path, other_source: Path, kind: str
) -> None:
    first, _ = make(tiny_source, kind)
    second = spacy.blank("en")
    add_encoder(second, other_source)
    second.add_pipe(kind, source=first)
    there, here = second(TEXTS[0]), first(TEXTS[0])
    assert not np.allclose(there.tensor, here.tensor)
    if kind == "textcat":
        assert there.cats != here.cats
    again = second(TEXTS[0])
    assert again.cats == there.cats
    assert [(e.text, e.label_) for e in again.ents] == [(e.text, e.label_) for e in there.ents]


@pytest.mark.parametrize("kind", HEADS)
def test_the_source_works_on_when_the_second_is_gone(
    tiny_source: Path, other_source: Path, kind: str
) -> None:
    first, _ = make(tiny_source, kind)
    before = first(TEXTS[0]).to_bytes()
    second = tiny_nlp(other_source)
    second.add_pipe(kind, source=first)
    del second
    gc.collect()
    assert first(TEXTS[0]).to_bytes() == before


@pytest.mark.parametrize("kind", HEADS)
def test_a_copied_pipeline_leaves_the_encoder_of_the_original_alone(
    tiny_source: Path, kind: str
) -> None:
    first, examples = make(tiny_source, kind)
    second = copy.deepcopy(first)
    before = first(TEXTS[0]).to_bytes()
    losses: dict[str, float] = {}
    optimizer = second.resume_training()
    for _ in range(2):  # on Docs of the original's vocabulary
        second.update(examples, losses=losses, sgd=optimizer)
    assert losses["deberta"] > 0
    assert first(TEXTS[0]).to_bytes() == before


def test_two_threads_use_both_pipelines_at_once(tiny_source: Path, other_source: Path) -> None:
    first, _ = make(tiny_source, "textcat")
    second = tiny_nlp(other_source)
    second.add_pipe("textcat", source=first)
    expected = [nlp(TEXTS[0]).cats for nlp in (first, second)]
    assert expected[0] != expected[1]
    wrong: list[object] = []

    def use(nlp: Language, cats: dict[str, float]) -> None:
        for _ in range(100):
            if nlp(TEXTS[0]).cats != cats:
                wrong.append(nlp)

    pairs = zip((first, second), expected, strict=True)
    threads = [threading.Thread(target=use, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
