"""The component deberta_choice: learns, keeps its promises on Docs, saves, goes over processes."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from spacy.util import load_config

from spacy_deberta.components.choice import DebertaChoice, score_choices
from spacy_deberta.errors import CheckpointError, ConfigError, DataError, InputError, PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from tests.pipelines.models import write_model
from tests.tiny import add_encoder, ner_examples, tiny_nlp

CONFIG = Path(__file__).parents[2] / "configs" / "choice_v2.cfg"
OWN_ENCODER = "spacy-deberta.SequenceModel.v1"
QUESTIONS = (
    ("Marie Curie moved to", ["Paris", "the old river", "a small letter"], 0),
    ("the painter opened the", ["window", "winter"], 0),
    ("slowly the teacher crossed the", ["evening", "don't", "café", "river"], 3),
    ("every summer", ["a garden wrote", "she painted the quiet village"], 1),
)


def ask(nlp: Language, text: str, choices: Sequence[str], gold: int | None = None) -> Doc:
    doc = nlp.make_doc(text)
    doc._.choices = list(choices)
    if gold is not None:
        doc.cats = {str(number): float(number == gold) for number in range(len(choices))}
    return doc


def choice_examples(nlp: Language) -> list[Example]:
    """The predicted Docs are bare, as those of spaCy's own reader."""
    return [Example(nlp.make_doc(question[0]), ask(nlp, *question)) for question in QUESTIONS]


def untrained(source: Path, *, own_encoder: bool = False, **settings: Any) -> Language:
    nlp = spacy.blank("en") if own_encoder else tiny_nlp(source)
    if own_encoder:
        encoder = {"@architectures": OWN_ENCODER, "source": str(source)}
        head = {"@architectures": "spacy-deberta.Head.v1", "kind": "choice"}
        model = {"@architectures": "spacy-deberta.ChoiceModel.v1", "tok2vec": encoder, "head": head}
        settings["model"] = model
    torch.manual_seed(0)
    nlp.add_pipe("deberta_choice", config=settings)
    nlp.initialize(lambda: choice_examples(nlp))
    return nlp


def train(nlp: Language, n_steps: int = 20) -> list[float]:
    optimizer, examples = build_adamw(0.01), choice_examples(nlp)
    return [nlp.update(examples, sgd=optimizer)["deberta_choice"] for _ in range(n_steps)]


def cats_of(nlp: Language) -> list[dict[str, float]]:
    return [nlp(ask(nlp, *question[:2])).cats for question in QUESTIONS]


@pytest.fixture(scope="module")
def trained(tiny_source: Path) -> Language:
    nlp = untrained(tiny_source)
    losses = train(nlp)
    assert losses[-1] < 0.1 < losses[0]
    return nlp


@pytest.mark.parametrize("own_encoder", [False, True], ids=["shared encoder", "its own"])
def test_it_learns_ragged_choices_and_trains_the_encoder(
    tiny_source: Path, own_encoder: bool
) -> None:
    nlp = untrained(tiny_source, own_encoder=own_encoder)
    owner: Any = nlp.get_pipe("deberta_choice" if own_encoder else "deberta")
    (shim,) = [node.shims[0] for node in owner.model.walk() if hasattr(_first(node), "encoder")]
    before = copy.deepcopy(shim.encoder.state_dict())

    losses = train(nlp)

    assert losses[-1] < 0.1 < losses[0]
    assert any(
        not torch.equal(before[name], now) for name, now in shim.encoder.state_dict().items()
    )
    assert nlp.evaluate(choice_examples(nlp))["choice_acc"] == 1.0


def _first(node: Any) -> Any:
    return node.shims[0] if node.shims else None


def test_probabilities_stand_under_the_numbers_and_sum_to_one(trained: Language) -> None:
    for (_, choices, gold), cats in zip(QUESTIONS, cats_of(trained), strict=True):
        assert list(cats) == [str(number) for number in range(len(choices))]
        assert sum(cats.values()) == pytest.approx(1, abs=1e-6)
        assert max(cats, key=lambda name: cats[name]) == str(gold)
        assert all(type(value) is float for value in cats.values())


def test_other_components_keep_their_cats_and_bare_docs_get_none(trained: Language) -> None:
    doc = ask(trained, *QUESTIONS[0][:2])
    doc.cats = {"TOPIC": 0.5}
    assert set(trained(doc).cats) == {"TOPIC", "0", "1", "2"}
    assert trained("Marie Curie").cats == {}
    assert trained(ask(trained, "", ["a", "b"])).cats.keys() == {"0", "1"}


def test_results_do_not_depend_on_the_batch(trained: Language) -> None:
    docs = [ask(trained, *question[:2]) for question in QUESTIONS] * 3
    docs.insert(5, trained.make_doc("no choices"))
    for size in (1, 4, 13):
        found = [
            dict(doc.cats) for doc in trained.pipe([doc.copy() for doc in docs], batch_size=size)
        ]
        assert found.pop(5) == {}
        for cats, alone in zip(found, cats_of(trained) * 3, strict=True):
            assert cats == pytest.approx(alone, abs=1e-5)


def test_the_gradient_is_that_of_the_loss(trained: Language) -> None:
    pipe: DebertaChoice = trained.get_pipe("deberta_choice")  # type: ignore[assignment]
    examples = choice_examples(trained)
    n_rows = sum(len(question[1]) for question in QUESTIONS)
    logits = np.random.default_rng(0).normal(size=(n_rows, 1)).astype("f")
    _, gradient = pipe.get_loss(examples, logits)
    for row in range(n_rows):
        step = np.zeros_like(logits)
        step[row] = 1e-2
        slope = (
            pipe.get_loss(examples, logits + step)[0] - pipe.get_loss(examples, logits - step)[0]
        )
        assert gradient[row, 0] == pytest.approx(slope / 2e-2, abs=1e-3)


def test_examples_without_a_right_choice_teach_nothing(tiny_source: Path) -> None:
    nlp = untrained(tiny_source)
    before = cats_of(nlp)
    bare = [Example(nlp.make_doc("a"), ask(nlp, "a", ["b", "c"])), *ner_examples(nlp)]
    assert nlp.update(bare, sgd=build_adamw(0.01, weight_decay=0.0))["deberta_choice"] == 0.0
    assert cats_of(nlp) == before


def test_a_frozen_encoder_stays_as_it_is(tiny_source: Path) -> None:
    nlp = untrained(tiny_source)
    encoder: Any = nlp.get_pipe("deberta")
    before = encoder.to_bytes()
    optimizer = build_adamw(0.01)
    for _ in range(3):
        nlp.update(choice_examples(nlp), sgd=optimizer, exclude=["deberta"])
    assert encoder.to_bytes() == before


@pytest.mark.parametrize("own_encoder", [False, True], ids=["shared encoder", "its own"])
def test_a_saved_pipeline_gives_the_same_cats(
    tiny_source: Path, tmp_path: Path, own_encoder: bool
) -> None:
    nlp = untrained(tiny_source, own_encoder=own_encoder)
    train(nlp, 3)
    nlp.to_disk(tmp_path)
    assert cats_of(spacy.load(tmp_path)) == cats_of(nlp)
    bytes_nlp = untrained(tiny_source, own_encoder=own_encoder).from_bytes(nlp.to_bytes())
    assert cats_of(bytes_nlp) == cats_of(nlp)
    assert spacy.load(tmp_path).get_pipe("deberta_choice").cfg["max_length"] == 256


def test_choices_and_cats_survive_doc_bins_and_spacys_reader(
    trained: Language, tmp_path: Path
) -> None:
    DocBin(store_user_data=True, docs=[ask(trained, *q) for q in QUESTIONS]).to_disk(
        tmp_path / "dev.spacy"
    )
    examples = list(Corpus(tmp_path / "dev.spacy")(trained))
    assert [len(example.predicted._.choices) for example in examples] == [0] * 4  # spaCy's way
    assert trained.evaluate(examples)["choice_acc"] == 1.0  # as in `spacy evaluate`
    assert trained.update(examples)["deberta_choice"] < 0.1


@pytest.mark.slow
def test_two_processes_give_the_same_cats(trained: Language) -> None:
    docs = [ask(trained, *question[:2]) for question in QUESTIONS] * 2
    found = [doc.cats for doc in trained.pipe(docs, n_process=2, batch_size=2)]
    for cats, alone in zip(found, cats_of(trained) * 2, strict=True):
        assert cats == pytest.approx(alone, abs=1e-6)


def test_a_bad_doc_goes_to_the_error_handler_alone(trained: Language) -> None:
    docs = [ask(trained, "a", ["b", "c"]), ask(trained, "a", ["b", "c " * 300])]
    seen: list[Doc] = []
    trained.set_error_handler(lambda name, pipe, bad, error: seen.extend(bad))
    try:
        assert len(list(trained.pipe(docs))) == 1
    finally:
        trained.set_error_handler(lambda name, pipe, bad, error: _raise(error))
    assert [len(doc._.choices[1]) for doc in seen] == [600]
    with pytest.raises(InputError, match=r"a choice of .* leaves no room"):
        trained(docs[1])


@pytest.mark.parametrize("given", ["xyz", 5, [1, 2], {"a": "b"}])
def test_choices_of_another_form_are_refused(trained: Language, given: Any) -> None:
    doc = trained.make_doc("a")
    doc._.choices = given
    with pytest.raises(DataError, match=r"doc\._\.choices: found .*, expected a list of texts"):
        trained(doc)


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("long", ["head", "tail"])
def test_long_contexts_are_cut_where_it_says(tiny_source: Path, long: str) -> None:
    nlp = untrained(tiny_source, max_length=16, long=long)
    body = "the old river " * 20
    one = nlp(ask(nlp, "Paris " + body, ["winter", "a letter"])).cats
    other = nlp(ask(nlp, "Warsaw " + body, ["winter", "a letter"])).cats
    assert (one == other) is (long == "tail")


def test_the_head_of_a_checkpoint_is_taken(tmp_path: Path) -> None:
    source = write_model(tmp_path / "mc", "multiple-choice", "v3")
    nlp = spacy.blank("en")
    add_encoder(nlp, source)
    nlp.add_pipe("deberta_choice")
    nlp.config["initialize"]["components"]["deberta_choice"] = {"head": str(source)}
    nlp.initialize(lambda: choice_examples(nlp))

    from spacy_deberta import DebertaV2ForMultipleChoice, DebertaV2Tokenizer

    model = DebertaV2ForMultipleChoice.from_pretrained(source)
    tokenizer = DebertaV2Tokenizer.from_pretrained(source)
    for text, choices, _ in QUESTIONS:
        rows = tokenizer([text] * len(choices), choices, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**{name: tensor[None] for name, tensor in rows.items()}).logits
        expected = logits.softmax(-1)[0].tolist()
        assert list(nlp(ask(nlp, text, choices)).cats.values()) == pytest.approx(expected, abs=1e-5)


def test_a_checkpoint_without_such_a_head_is_refused(tmp_path: Path, tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("deberta_choice")
    nlp.config["initialize"]["components"]["deberta_choice"] = {"head": str(tiny_source)}
    with pytest.raises(CheckpointError):
        nlp.initialize(lambda: choice_examples(nlp))


def test_what_cannot_work_is_refused_by_name(tiny_source: Path, trained: Language) -> None:
    with pytest.raises(ConfigError, match="long='window': expected one of head, tail"):
        tiny_nlp(tiny_source).add_pipe("deberta_choice", config={"long": "window"})
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("deberta_choice")
    with pytest.raises(PipelineError, match="no example has choices and a right"):
        nlp.initialize(lambda: ner_examples(nlp))
    with pytest.raises(PipelineError, match=r"has no labels; put the answers into doc\._\.choices"):
        trained.get_pipe("deberta_choice").add_label("A")


def test_accuracy_counts_what_has_a_right_choice_and_ties_go_to_the_first() -> None:
    nlp = spacy.blank("en")
    gold = [ask(nlp, "a", ["b", "c"], number) for number in (0, 1)]
    examples = [Example(nlp.make_doc("a"), doc) for doc in [*gold, ask(nlp, "a", ["b", "c"])]]
    for example in examples:
        example.predicted.cats = {"0": 0.5, "1": 0.5}
    assert score_choices(examples) == {"choice_acc": 0.5, "choice_n": 2}
    assert score_choices(examples[2:]) == {"choice_acc": None, "choice_n": 0}


def test_the_shipped_config_trains(tiny_source: Path, tmp_path: Path) -> None:
    blank = spacy.blank("en")
    DocBin(store_user_data=True, docs=[ask(blank, *q) for q in QUESTIONS]).to_disk(
        tmp_path / "data.spacy"
    )
    paths = {name: str(tmp_path / "data.spacy") for name in ("train", "dev")}
    overrides: dict[str, Any] = {f"paths.{name}": path for name, path in paths.items()}
    overrides |= {"paths.source": str(tiny_source), "training.max_steps": 2}
    config = load_config(CONFIG, overrides=overrides)
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train as train_nlp

    nlp = init_nlp(config)
    assert nlp.config["components"] == nlp.from_config(nlp.config).config["components"]
    (tmp_path / "out").mkdir()
    train_nlp(nlp, tmp_path / "out")
    scores = spacy.load(tmp_path / "out" / "model-last").evaluate(choice_examples(nlp))
    assert 0 <= scores["choice_acc"] <= 1


def test_fewer_choices_leave_no_scores_behind(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    choice = nlp.add_pipe("deberta_choice")
    doc = nlp.make_doc("every summer")
    doc.cats = {"other": 0.5}
    choice.set_annotations([doc], [np.array([0.2, 0.3, 0.5], dtype="f")])
    choice.set_annotations([doc], [np.array([1.0], dtype="f")])
    assert doc.cats == {"other": 0.5, "0": 1.0}
