"""Small text categorizers, and what they learn from."""

from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_deberta.thinc_layers.optimizer import build_adamw
from tests.tiny import add_encoder

OWN = {"@architectures": "spacy-deberta.SequenceModel.v1"}
LISTENER = {"@architectures": "spacy-deberta.SequenceListener.v1"}
MODEL = {"@architectures": "spacy-deberta.TextClassifier.v1"}
HEAD = {"@architectures": "spacy-deberta.Head.v1", "kind": "sequence", "dropout": 0.0}

PLACES = ("Paris", "London", "Warsaw")
TEXTS = (
    "Marie Curie moved to Paris.",
    "Every painter in the village crossed the old river.",
    "A letter from Warsaw",
    "the quiet garden behind the station",
    "London can't.",
    "Two teachers wrote slowly",
)
PAIRS = (
    ("a letter from Warsaw", "a letter", "same"),
    ("the old river", "two teachers wrote", "other"),
    ("quiet garden behind", "quiet garden", "same"),
    ("every painter", "a letter", "other"),
)


def textcat_nlp(source: Path, *, shared: bool = False, **settings: Any) -> Language:
    nlp = spacy.blank("en")
    encoder = dict(LISTENER)
    if shared:
        add_encoder(nlp, source)
    else:
        encoder = {**OWN, "source": str(source)}
    model = {**MODEL, "tok2vec": encoder, "head": HEAD, **settings.pop("model", {})}
    nlp.add_pipe("deberta_textcat", name="textcat", config={"model": model, **settings})
    return nlp


def cats_of(text: str, mode: str) -> dict[str, float]:
    place = float(any(place in text for place in PLACES))
    if mode == "exclusive":
        return {"place": place, "none": 1 - place}
    if mode == "multilabel":
        return {"place": place, "capital": float(text[0].isupper())}
    return {"length": len(text) / 10}


def text_examples(nlp: Language, mode: str = "exclusive") -> list[Example]:
    return [Example.from_dict(nlp.make_doc(t), {"cats": cats_of(t, mode)}) for t in TEXTS]


def pair_examples(nlp: Language) -> list[Example]:
    examples = []
    for first, second, label in PAIRS:
        cats = {name: float(name == label) for name in ("same", "other")}
        example = Example.from_dict(nlp.make_doc(first), {"cats": cats})
        example.reference._.pair = second
        examples.append(example)
    return examples


def train(nlp: Language, examples: list[Example], n_steps: int = 30, **init: Any) -> list[float]:
    fix_random_seed(0)
    if init:
        nlp.config["initialize"]["components"]["textcat"] = init
    nlp.initialize(lambda: examples)
    optimizer = build_adamw(0.01, head_learn_rate_scale=2.0)
    history = []
    for _ in range(n_steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
        history.append(losses["textcat"])
    return history
