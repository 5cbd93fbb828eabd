"""spaCy's own components train two steps on the listener, and send the encoder their gradient."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.kb import InMemoryLookupKB
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_deberta.cli.blueprint import Plan, build_config
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.tiny import add_encoder

WORDS = ["Marie", "Curie", "crossed", "the", "old", "river", ".", "London", "waited", "."]
BUILTIN = (
    "ner",
    "tagger",
    "morphologizer",
    "parser",
    "senter",
    "trainable_lemmatizer",
    "textcat",
    "textcat_multilabel",
    "spancat",
    "span_finder",
    "entity_linker",
)
SMALL: dict[str, dict[str, Any]] = {
    "parser": {"min_action_freq": 1},
    "trainable_lemmatizer": {"min_tree_freq": 1},
    "entity_linker": {"use_gold_ents": True, "n_sents": 0},
}


def examples(nlp: Language) -> list[Example]:
    found = []
    for label in ("x", "y", "x", "x"):  # not in balance: gradients would cancel out
        doc = Doc(
            nlp.vocab,
            words=WORDS,
            tags=["N", "N", "V", "D", "A", "N", ".", "N", "V", "."],
            pos=["PROPN", "PROPN", "VERB", "DET", "ADJ", "NOUN", "PUNCT", "PROPN", "VERB", "PUNCT"],
            morphs=["Number=Sing", "", "Tense=Past", "", "", "", "", "", "Tense=Past", ""],
            heads=[1, 2, 2, 5, 5, 2, 2, 8, 8, 8],
            deps=["com", "subj", "ROOT", "det", "mod", "obj", "p", "subj", "ROOT", "p"],
            lemmas=["Marie", "Curie", "cross", "the", "old", "river", ".", "London", "wait", "."],
            sent_starts=[i in (0, 7) for i in range(len(WORDS))],
        )
        person = Span(doc, 0, 2, "PERSON", kb_id="Q1")
        place = Span(doc, 7, 8, "PLACE", kb_id="Q3")
        doc.ents = [person, place]
        doc.spans["sc"] = [person, place]
        doc.cats = {"x": float(label == "x"), "y": float(label == "y")}
        predicted = nlp.make_doc(doc.text)
        predicted.ents = [Span(predicted, span.start, span.end, span.label_) for span in doc.ents]
        for token in predicted:
            token.is_sent_start = token.i in (0, 7)
        found.append(Example(predicted, doc))
    return found


def make_kb(vocab: Vocab) -> InMemoryLookupKB:
    kb = InMemoryLookupKB(vocab, entity_vector_length=16)
    names = ["Q1", "Q2", "Q3", "Q4"]
    vectors = torch.eye(16)[:4].tolist()
    kb.set_entities(names, [10.0] * 4, vectors)
    kb.add_alias("Marie Curie", ["Q1", "Q2"], [0.5, 0.5])
    kb.add_alias("London", ["Q3", "Q4"], [0.5, 0.5])
    return kb


@pytest.fixture
def build(tiny_source: Path) -> Callable[[str], Language]:
    def pipeline(task: str) -> Language:
        nlp = spacy.blank("en")
        add_encoder(nlp, tiny_source, window=64, stride=32)
        block = build_config(Plan([task]))["components"][task]
        settings = {key: value for key, value in block.items() if key != "factory"}
        nlp.add_pipe(task, config={**settings, **SMALL.get(task, {})})
        return nlp

    return pipeline


def default_weights(nlp: Language, task: str) -> dict[str, float]:
    return nlp.get_factory_meta(task).default_score_weights


@pytest.mark.parametrize("task", BUILTIN)
def test_two_steps_train_component_and_encoder(
    build: Callable[[str], Language], task: str, tmp_path: Path
) -> None:
    nlp = build(task)
    batch = examples(nlp)
    if task == "entity_linker":
        make_kb(nlp.vocab).to_disk(tmp_path / "kb")
        nlp.config["initialize"]["components"] = {
            task: {"kb_loader": {"@misc": "spacy.KBFromFile.v1", "kb_path": str(tmp_path / "kb")}}
        }
    nlp.initialize(lambda: batch)
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder  # type: ignore[attr-defined]
    optimizer = build_adamw(1e-3)

    before = encoder.embeddings.pieces.weight.detach().clone()
    for _ in range(2):  # heads that start from zeros send their first gradient in the second step
        losses: dict[str, float] = {}
        nlp.update(batch, sgd=optimizer, losses=losses)
    assert losses[task] > 0
    assert losses["deberta"] > 0, "the squared norm of the gradient that reached the encoder"
    assert not torch.equal(before, encoder.embeddings.pieces.weight)

    nlp.to_disk(tmp_path / "nlp")
    scores = spacy.load(tmp_path / "nlp").evaluate(batch)
    main = max(default_weights(nlp, task).items(), key=lambda item: item[1] or 0.0)[0]
    assert scores[main] is not None


def test_sentences_cut_out_of_docs_do_not_end_the_step_of_the_others(
    build: Callable[[str], Language], tmp_path: Path
) -> None:
    nlp = build("entity_linker")
    settings = build_config(Plan(["spancat"]))["components"]["spancat"]
    nlp.add_pipe("spancat", config={k: v for k, v in settings.items() if k != "factory"})
    batch = examples(nlp)
    make_kb(nlp.vocab).to_disk(tmp_path / "kb")
    loader = {"@misc": "spacy.KBFromFile.v1", "kb_path": str(tmp_path / "kb")}
    nlp.config["initialize"]["components"] = {"entity_linker": {"kb_loader": loader}}
    nlp.initialize(lambda: batch)
    deberta: Any = nlp.get_pipe("deberta")
    steps: list[float] = []
    finish = deberta.model.finish_update
    deberta._backward._apply = lambda sgd: (steps.append(losses["deberta"]), finish(sgd))
    losses: dict[str, float] = {}

    nlp.update(batch, sgd=build_adamw(1e-3), losses=losses)

    assert len(steps) == 1
    assert steps[0] == losses["deberta"] > 0, "the step has the gradient of both"
    assert not deberta._backward.waits_for(deberta.listeners[-1].id)
