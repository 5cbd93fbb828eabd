"""`deberta_textcat`: saving, scores, errors, configs, and two components over one encoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import registry

from spacy_deberta.components.class_scores import score_classes
from spacy_deberta.components.textcat import SCORE_WEIGHTS
from spacy_deberta.errors import ConfigError, DataError
from tests.components.textcats import (
    HEAD,
    LISTENER,
    MODEL,
    TEXTS,
    pair_examples,
    text_examples,
    textcat_nlp,
    train,
)
from tests.tiny import add_encoder

CONFIGS = Path(__file__).parents[2] / "configs"


def _by_disk(nlp: Language, folder: Path) -> Language:
    nlp.to_disk(folder)
    return spacy.load(folder)


def _by_bytes(nlp: Language, folder: Path) -> Language:
    return spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())


@pytest.mark.parametrize("again", [_by_disk, _by_bytes])
@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
def test_a_saved_pipeline_predicts_the_same(
    tiny_source: Path, tmp_path: Path, shared: bool, again: Callable[[Language, Path], Language]
) -> None:
    nlp = textcat_nlp(tiny_source, shared=shared, threshold=0.25)
    train(nlp, text_examples(nlp), 3, positive_label="place")

    loaded = again(nlp, tmp_path / "saved")

    assert [doc.cats for doc in loaded.pipe(TEXTS)] == [doc.cats for doc in nlp.pipe(TEXTS)]
    assert loaded.get_pipe("textcat").cfg == nlp.get_pipe("textcat").cfg
    assert loaded.get_pipe("textcat").to_bytes() == nlp.get_pipe("textcat").to_bytes()


def test_pairs_survive_docbin_and_bytes(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    doc = nlp.make_doc("a")
    doc._.pair = "b c"

    (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)

    assert again._.pair == Doc(nlp.vocab).from_bytes(doc.to_bytes())._.pair == "b c"


def test_batches_change_nothing_and_empty_texts_have_scores(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    train(nlp, text_examples(nlp), 3)
    texts = [*TEXTS, "", " "]

    alone = [nlp(text).cats for text in texts]

    for cats, doc in zip(alone, nlp.pipe(texts, batch_size=3), strict=True):
        assert doc.cats == pytest.approx(cats, abs=1e-5)
        assert sum(doc.cats.values()) == pytest.approx(1)


def test_only_the_bad_doc_of_a_batch_is_lost(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    train(nlp, text_examples(nlp), 0)
    docs = [nlp.make_doc(text) for text in TEXTS[:3]]
    docs[1]._.pair = 3
    lost: list[str] = []
    nlp.set_error_handler(lambda name, proc, bad, error: lost.append(f"{bad[0].text}: {error}"))

    done = list(nlp.pipe(docs))

    assert [doc.text for doc in done] == [TEXTS[0], TEXTS[2]]
    assert lost == [f"{TEXTS[1]}: doc._.pair: found 3, expected a text, or None for a text alone."]


def test_thresholds_change_recall_monotonically(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source, mode="multilabel")
    examples = text_examples(nlp, "multilabel")
    train(nlp, examples, 4)
    recalls = []
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.0):
        nlp.get_pipe("textcat").cfg["threshold"] = threshold
        recalls.append(nlp.evaluate(examples)["cats_micro_r"])

    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] == 1.0 > recalls[-1]


def test_the_positive_label_decides_the_score(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    examples = text_examples(nlp)
    train(nlp, examples, 2, positive_label="place")

    scores = nlp.evaluate(examples)

    assert scores["cats_score"] == scores["cats_f_per_type"]["place"]["f"]
    assert scores["cats_score_desc"] == "F (place)"


def test_values_are_scored_by_correlation_and_error() -> None:
    nlp = spacy.blank("en")
    examples = []
    for wanted, found in [(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)]:
        example = Example.from_dict(nlp.make_doc("a"), {"cats": {"score": wanted}})
        example.predicted.cats = {"score": found}
        examples.append(example)

    scores = score_classes(examples, labels=["score"], mode="regression")

    assert scores["cats_score"] == pytest.approx(np.corrcoef([1, 2, 3], [2, 4, 9])[0, 1])
    assert scores["cats_spearman"] == pytest.approx(1)
    assert scores["cats_mae"] == pytest.approx(3)
    assert scores["cats_rmse"] == pytest.approx(np.sqrt((1 + 4 + 36) / 3))


@pytest.mark.parametrize(
    ("mode", "cats", "message"),
    [
        (
            "exclusive",
            {"place": 1.0, "none": 1.0},
            "from 0 to 1 that add up to 1, with mode='exclusive'",
        ),
        ("multilabel", {"place": 2.0}, "expected values from 0 to 1, with mode='multilabel'"),
    ],
)
def test_values_that_cannot_be_are_errors(
    tiny_source: Path, mode: str, cats: dict[str, float], message: str
) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode)
    train(nlp, text_examples(nlp, mode), 0)
    bad = Example.from_dict(nlp.make_doc("x"), {"cats": cats})

    with pytest.raises(DataError, match=message):
        nlp.update([bad])


@pytest.mark.parametrize(
    ("settings", "init", "message"),
    [
        ({"mode": "both"}, {}, "mode='both' is unknown; expected one of exclusive"),
        ({}, {"labels": ["place"]}, r"the data has labels \['none'\]"),
        ({}, {"positive_label": "x"}, "positive_label='x': expected one of two labels"),
    ],
)
def test_settings_that_cannot_work_are_errors(
    tiny_source: Path, settings: dict[str, Any], init: dict[str, Any], message: str
) -> None:
    examples = text_examples(spacy.blank("en"))

    with pytest.raises(ConfigError, match=message):
        train(textcat_nlp(tiny_source, **settings), examples, 0, **init)


def test_a_label_added_too_late_is_an_error(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    train(nlp, text_examples(nlp), 0)

    assert nlp.get_pipe("textcat").add_label("place") == 0
    with pytest.raises(ValueError, match="E922"):
        nlp.get_pipe("textcat").add_label("new")


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
def test_a_pipeline_of_tasks_takes_the_component(tiny_source: Path, shared: bool) -> None:
    from pipelines.text_classification import TextClassificationPipeline

    nlp = textcat_nlp(tiny_source, shared=shared)
    train(nlp, text_examples(nlp), 3)
    doc = nlp.make_doc(TEXTS[0])
    doc._.pair = TEXTS[2]

    found = TextClassificationPipeline(nlp)([(TEXTS[0], TEXTS[2]), TEXTS[1]])

    for record, expected in zip(found, nlp.pipe([doc, TEXTS[1]]), strict=True):
        scores = {one.label: one.score for one in record.scores}
        assert scores == pytest.approx(expected.cats, abs=1e-5)


@pytest.mark.parametrize("name", ["textcat", "pairs"])
def test_the_configs_train(tiny_source: Path, name: str) -> None:
    config = spacy.util.load_config(CONFIGS / f"{name}_v2.cfg")
    config["paths"] |= {"train": "-", "dev": "-", "source": str(tiny_source)}
    assert config["components"][name]["factory"] == "deberta_textcat"
    nlp = spacy.util.load_model_from_config(config.interpolate(), auto_fill=False)
    examples = text_examples(nlp) if name == "textcat" else pair_examples(nlp)
    nlp.initialize(lambda: examples)
    settings = registry.resolve(config.interpolate()["training"], schema=ConfigSchemaTraining)

    for _ in range(2):
        losses = nlp.update(examples, sgd=settings["optimizer"])

    assert losses[name] > 0
    assert nlp.evaluate(examples)["cats_score"] >= 0
    filled = set(settings["score_weights"])
    assert filled == set(SCORE_WEIGHTS)


# --- two components over one encoder --------------------------------------------------------------


def shared_nlp(source: Path) -> Language:
    """One judges texts, the other pairs."""
    nlp = spacy.blank("en")
    add_encoder(nlp, source)
    model = {**MODEL, "tok2vec": LISTENER, "head": HEAD}
    for name, texts in (("places", "single"), ("nli", "pairs")):
        nlp.add_pipe("deberta_textcat", name=name, config={"model": model, "texts": texts})
    return nlp


def test_components_for_texts_and_for_pairs_leave_each_others_docs_alone(
    tiny_source: Path,
) -> None:
    nlp = shared_nlp(tiny_source)
    examples = [*text_examples(nlp), *pair_examples(nlp)]
    nlp.initialize(lambda: examples)
    assert nlp.get_pipe("places").labels == ("place", "none")
    assert nlp.get_pipe("nli").labels == ("same", "other")
    text, pair = nlp.make_doc("A letter"), nlp.make_doc("A letter")
    pair._.pair = "a letter"
    assert set(nlp(text).cats) == {"place", "none"}
    assert set(nlp(pair).cats) == {"same", "other"}


@pytest.mark.parametrize("name", ["places", "nli"])
def test_a_component_learns_from_its_own_examples_alone(tiny_source: Path, name: str) -> None:
    nlp = shared_nlp(tiny_source)
    own, foreign = text_examples(nlp), pair_examples(nlp)
    if name == "nli":
        own, foreign = foreign, own
    nlp.initialize(lambda: [*own, *foreign])
    component = nlp.get_pipe(name)
    alone = component.update(own)[name]
    assert component.update([*foreign, *own])[name] == pytest.approx(alone, abs=1e-5)
    assert component.update(foreign)[name] == 0.0


def test_unknown_texts_are_refused(tiny_source: Path) -> None:
    with pytest.raises(ConfigError, match="texts='both' is unknown; expected one of all, single"):
        textcat_nlp(tiny_source, texts="both")


def test_both_components_are_scored_on_their_own_examples(tiny_source: Path) -> None:
    """Second texts are in the references alone, as spaCy's readers give them."""
    nlp = shared_nlp(tiny_source)
    texts, pairs = text_examples(nlp), pair_examples(nlp)
    nlp.initialize(lambda: [*texts, *pairs])
    scores = nlp.evaluate([*texts, *pairs], per_component=True)
    found = {name: set(scores[name]["cats_f_per_type"]) for name in ("places", "nli")}
    assert found == {"places": {"place", "none"}, "nli": {"same", "other"}}


def test_each_of_two_components_has_scores_of_its_own(tiny_source: Path) -> None:
    """`cats_score` is the last one's: model selection would not see the other."""
    nlp = shared_nlp(tiny_source)
    examples = [*text_examples(nlp), *pair_examples(nlp)]
    nlp.initialize(lambda: examples)
    apart = nlp.evaluate(examples, per_component=True)
    found = nlp.evaluate(examples)
    for name in ("places", "nli"):
        for key in ("cats_score", "cats_micro_f", "cats_macro_f"):
            assert found[f"{name}_{key}"] == apart[name][key]


def test_numbers_of_choices_are_no_labels(tiny_source: Path) -> None:
    nlp = shared_nlp(tiny_source)
    nlp.add_pipe("deberta_choice", config={"model": {"tok2vec": LISTENER}})
    asked = nlp.make_doc("who crossed the river")
    asked._.choices, asked.cats = ["a painter", "a window"], {"0": 1.0, "1": 0.0}
    chosen = Example(nlp.make_doc(asked.text), asked)
    examples = [*text_examples(nlp), *pair_examples(nlp), chosen]
    nlp.initialize(lambda: examples)
    assert nlp.get_pipe("places").labels == ("place", "none")
    assert nlp.get_pipe("nli").labels == ("same", "other")


@pytest.mark.parametrize(("mode", "merge"), [("exclusive", "mean"), ("multilabel", "max")])
def test_windows_are_merged_as_the_mode_given_at_loading_says(
    tiny_source: Path, tmp_path: Path, mode: str, merge: str
) -> None:
    nlp = textcat_nlp(tiny_source)
    train(nlp, text_examples(nlp), 0)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path, config={"components.textcat.mode": mode})
    component = loaded.get_pipe("textcat")
    assert (component.cfg["mode"], component.model.attrs["merge"]) == (mode, merge)
