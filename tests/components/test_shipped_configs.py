"""configs/tagger_parser_v2.cfg and multitask_v2.cfg are filled, and train at tiny size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from confection import Config
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import load_config, load_model_from_config, registry

from spacy_deberta.thinc_layers.transformer import shim_of

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ("tagger_parser_v2", "multitask_v2")
WORDS = ["Marie", "Curie", "crossed", "the", "old", "river"]


def read(name: str, source: Path) -> Config:
    """The config with a tiny encoder."""
    changes = {
        "paths.source": str(source),
        "components.deberta.model.window": 64,
        "components.deberta.model.stride": 32,
    }
    return load_config(CONFIGS / f"{name}.cfg", changes, interpolate=True)


def examples(nlp: Language) -> list[Example]:
    """The same sentence with everything annotated, in two classes of text."""
    found = []
    for label in ("x", "y") * 4:
        doc = Doc(
            nlp.vocab,
            words=WORDS,
            tags=["NNP", "NNP", "VBD", "DT", "JJ", "NN"],
            pos=["PROPN", "PROPN", "VERB", "DET", "ADJ", "NOUN"],
            morphs=["Number=Sing", "Number=Sing", "Tense=Past", "", "", "Number=Sing"],
            heads=[1, 2, 2, 5, 5, 2],
            deps=["compound", "nsubj", "ROOT", "det", "amod", "obj"],
            lemmas=["Marie", "Curie", "cross", "the", "old", "river"],
            sent_starts=[True, False, False, False, False, False],
        )
        doc.ents = [Span(doc, 0, 2, "PERSON")]
        doc.cats = {"x": float(label == "x"), "y": float(label == "y")}
        found.append(Example(nlp.make_doc(doc.text), doc))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.cfg")

    filled = load_model_from_config(config, auto_fill=True).config

    assert _keys(filled) == _keys(config)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_train_every_component_and_the_encoder(name: str, tiny_source: Path) -> None:
    config = read(name, tiny_source)
    config["components"].get("parser", {})["min_action_freq"] = 1
    config["components"].get("trainable_lemmatizer", {})["min_tree_freq"] = 1
    nlp = load_model_from_config(config, auto_fill=False, validate=True)
    batch = examples(nlp)
    nlp.initialize(lambda: batch)
    training = registry.resolve(config["training"], validate=False)
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder  # type: ignore[attr-defined]
    before = {n: p.detach().clone() for n, p in encoder.named_parameters()}
    losses: dict[str, float] = {}

    for _ in range(2):
        training["optimizer"].step_schedules()  # the first rate is 0
        nlp.update(batch, sgd=training["optimizer"], losses=losses)

    assert losses.keys() == set(nlp.pipe_names)
    assert all(loss > 0 for loss in losses.values())
    assert any(not torch.equal(before[n], p) for n, p in encoder.named_parameters())
    scores = nlp.evaluate(batch)
    weights = {key for key, weight in config["training"]["score_weights"].items() if weight}
    assert weights <= scores.keys()


def test_a_component_learns_nothing_from_docs_without_its_annotation(tiny_source: Path) -> None:
    config = read("multitask_v2", tiny_source)
    config["components"]["parser"]["min_action_freq"] = 1
    nlp = load_model_from_config(config, auto_fill=False, validate=True)
    batch = examples(nlp)
    nlp.initialize(lambda: batch)
    bare = [Example(nlp.make_doc(e.text), Doc(nlp.vocab, words=WORDS)) for e in batch]
    losses: dict[str, float] = {}

    nlp.update(bare, sgd=nlp.create_optimizer(), losses=losses)

    assert losses == pytest.approx(dict.fromkeys(losses, 0.0))


def _keys(block: Any, prefix: str = "") -> set[str]:
    """Dotted names of all settings."""
    if not isinstance(block, dict) or not block:
        return {prefix}
    return set().union(*(_keys(value, f"{prefix}.{key}") for key, value in block.items()))
