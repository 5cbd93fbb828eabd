"""spaCy's own components train on the listener."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.util import fix_random_seed
from thinc.api import Adam

from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.tiny import NER_MODEL, TAGGER_MODEL, TEXTS, ner_examples, tiny_nlp

TOK2VEC_LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}


def task_nlp(source: Path, **settings: Any) -> Language:
    nlp = tiny_nlp(source, **settings)
    nlp.add_pipe("ner", config={"model": NER_MODEL})
    nlp.add_pipe("tagger", config={"model": TAGGER_MODEL})
    return nlp


def train(nlp: Language, n_steps: int, optimizer: Any = None) -> list[dict[str, float]]:
    fix_random_seed(0)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = optimizer or build_adamw(0.01, head_learn_rate_scale=2.0)
    history = []
    for _ in range(n_steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
        history.append(losses)
    return history


@pytest.mark.parametrize("optimizer", [None, Adam(0.01)], ids=["AdamW", "thinc Adam"])
def test_ner_and_tagger_learn_and_move_the_encoder(tiny_source: Path, optimizer: Any) -> None:
    nlp = task_nlp(tiny_source)
    before = nlp.get_pipe("deberta").model.predict([nlp.make_doc(TEXTS[0])])[0].copy()

    history = train(nlp, 25, optimizer)

    assert history[-1]["ner"] < 0.2 * history[0]["ner"]
    assert history[-1]["tagger"] < 0.5 * history[0]["tagger"]
    assert history[0]["deberta"] > 0
    doc = nlp(TEXTS[0])
    assert {ent.text for ent in doc.ents} == {"Marie", "Curie", "Paris"}
    assert not np.allclose(doc.tensor, before)


def test_the_same_seed_gives_the_same_weights(tiny_source: Path) -> None:
    """Row 25."""
    tensors = []
    for _ in range(2):
        nlp = task_nlp(tiny_source)
        train(nlp, 3)
        tensors.append([doc.tensor for doc in nlp.pipe(TEXTS)])

    for a, b in zip(*tensors, strict=True):
        np.testing.assert_array_equal(a, b)


def _weights(nlp: Language, name: str) -> bytes:
    content = nlp.get_pipe(name).model.to_dict()
    return pickle.dumps((content["params"], content["shims"]))


@pytest.mark.parametrize("frozen", [["deberta"], ["ner"], ["tagger"], ["deberta", "ner"]])
def test_frozen_components_stay_as_they_are(tiny_source: Path, frozen: list[str]) -> None:
    """Row 17."""
    nlp = task_nlp(tiny_source)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    before = {name: _weights(nlp, name) for name in nlp.pipe_names}

    nlp.update(examples, sgd=build_adamw(0.01), exclude=frozen, annotates=["deberta"])
    nlp(TEXTS[0])

    after = {name: _weights(nlp, name) for name in nlp.pipe_names}
    assert {name for name in before if before[name] == after[name]} == set(frozen)


def test_spacys_own_listener_trains_and_predicts(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("ner", config={"model": {**NER_MODEL, "tok2vec": TOK2VEC_LISTENER}})
    nlp.add_pipe("tagger", config={"model": {**TAGGER_MODEL, "tok2vec": TOK2VEC_LISTENER}})
    before = nlp.get_pipe("deberta").model.predict([nlp.make_doc(TEXTS[0])])[0].copy()

    history = train(nlp, 25)

    assert history[-1]["ner"] < 0.2 * history[0]["ner"]
    doc = nlp(TEXTS[0])
    assert {ent.text for ent in doc.ents} == {"Marie", "Curie", "Paris"}
    assert not np.allclose(doc.tensor, before)


def test_spacys_own_listener_of_another_width_is_an_error(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    listener = {**TOK2VEC_LISTENER, "width": 96}
    nlp.add_pipe("tagger", config={"model": {**TAGGER_MODEL, "tok2vec": listener}})

    with pytest.raises(PipelineError, match=r"width=96, but this encoder has width 16"):
        nlp.initialize()


def test_spacys_own_listener_follows_a_frozen_encoder(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("tagger", config={"model": {**TAGGER_MODEL, "tok2vec": TOK2VEC_LISTENER}})
    train(nlp, 2)
    before = nlp(TEXTS[0]).tensor
    examples = ner_examples(nlp, TEXTS[:2])

    nlp.update(examples, sgd=build_adamw(0.1), exclude=["deberta"], annotates=["deberta"])

    np.testing.assert_array_equal(nlp(TEXTS[0]).tensor, before)


def test_rehearsal_runs(tiny_source: Path) -> None:
    """Row 27."""
    nlp = task_nlp(tiny_source)
    train(nlp, 2)
    nlp.resume_training()

    nlp.rehearse(ner_examples(nlp))


def test_a_head_can_be_updated_alone(tiny_source: Path) -> None:
    """Row 30."""
    nlp = task_nlp(tiny_source)
    train(nlp, 1)
    before = nlp(TEXTS[0]).tensor

    losses = nlp.get_pipe("ner").update(ner_examples(nlp), sgd=build_adamw(0.01))

    assert losses["ner"] > 0
    np.testing.assert_array_equal(nlp(TEXTS[0]).tensor, before)


def test_initialize_without_examples_and_twice(tiny_source: Path) -> None:
    """Rows 49 and 50."""
    nlp = tiny_nlp(tiny_source)
    nlp.initialize()
    before = nlp(TEXTS[0]).tensor

    nlp.initialize()

    np.testing.assert_array_equal(nlp(TEXTS[0]).tensor, before)


def test_averages_apply_to_the_whole_pipeline(tiny_source: Path) -> None:
    """Row 23."""
    nlp = task_nlp(tiny_source)
    optimizer = build_adamw(0.01, use_averages=True)
    train(nlp, 3, optimizer)
    last = nlp(TEXTS[0]).tensor

    with nlp.use_params(optimizer.averages):
        averaged = nlp(TEXTS[0]).tensor

    assert not np.allclose(averaged, last)
    np.testing.assert_array_equal(nlp(TEXTS[0]).tensor, last)


def test_a_fresh_encoder_that_is_frozen_has_its_weights(tiny_source: Path) -> None:
    """Row 19."""
    nlp = task_nlp(tiny_source)
    examples = ner_examples(nlp)

    with nlp.select_pipes(disable=["deberta"]):
        nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=build_adamw(0.01), exclude=["deberta"], annotates=["deberta"])

    assert shim_of(nlp.get_pipe("deberta").model).is_loaded
    np.testing.assert_array_equal(nlp(TEXTS[0]).tensor, tiny_nlp(tiny_source)(TEXTS[0]).tensor)


def test_the_config_makes_a_round_trip(tiny_source: Path) -> None:
    """Row 41."""
    nlp = task_nlp(tiny_source)

    again = spacy.util.load_model_from_config(nlp.config, auto_fill=True)

    assert again.config["components"] == nlp.config["components"]
    assert again.get_pipe("deberta").listening_components == ["ner", "tagger"]


def test_importing_the_factories_is_light() -> None:
    """Row 52: every spacy.blank() of an environment imports them all, by their entry points."""
    program = """
import sys, spacy
before = set(sys.modules)
nlp = spacy.blank("en")
new = set(sys.modules) - before
assert "spacy_deberta.components.qa" in new
# Without this package thinc imports torch itself, when it can: look for what is heavy of our own.
heavy = {"sentencepiece", "tokenizers", "safetensors", "transformers"}
ours = ("encoder", "checkpoints", "tokenizers", "thinc_layers.transformer", "modeling")
ours = tuple(f"spacy_deberta.{name}" for name in ours)
print(sorted(n for n in new if n in heavy or n.startswith(ours)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"
