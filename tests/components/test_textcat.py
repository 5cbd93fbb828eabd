"""`deberta_textcat`: labels and values of texts and pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from spacy.util import fix_random_seed, registry

from spacy_deberta.components.class_scores import score_classes
from spacy_deberta.components.textcat import SCORE_WEIGHTS
from spacy_deberta.decoding.classes import MULTI_LABEL, REGRESSION, SINGLE_LABEL, class_losses
from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.modeling import DebertaV2ForSequenceClassification
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import add_encoder, tiny_config

CONFIGS = Path(__file__).parents[2] / "configs"
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


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
@pytest.mark.parametrize("mode", ["exclusive", "multilabel", "regression"])
def test_texts_are_learned_and_move_the_encoder(tiny_source: Path, mode: str, shared: bool) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode, shared=shared)
    examples = text_examples(nlp, mode)

    history = train(nlp, examples)

    assert history[-1] < 0.3 * history[0]
    for text in TEXTS:
        for label, value in cats_of(text, mode).items():
            assert nlp(text).cats[label] == pytest.approx(value, abs=0.4 if value <= 1 else 1.5)
    assert nlp.evaluate(examples)["cats_score"] > 0.9


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
def test_pairs_are_learned_together(tiny_source: Path, shared: bool) -> None:
    nlp = textcat_nlp(tiny_source, shared=shared)
    examples = pair_examples(nlp)

    history = train(nlp, examples, 40)

    assert history[-1] < 0.3 * history[0]
    for first, second, label in PAIRS:
        doc = nlp.make_doc(first)
        doc._.pair = second
        assert max(nlp(doc).cats, key=doc.cats.__getitem__) == label


def test_scores_read_pairs_that_only_references_have(tiny_source: Path, tmp_path: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    train(nlp, pair_examples(nlp), 40)
    references = [example.reference for example in pair_examples(nlp)]
    DocBin(docs=references, store_user_data=True).to_disk(tmp_path / "pairs.spacy")

    examples = list(Corpus(tmp_path / "pairs.spacy")(nlp))

    assert examples[0].predicted._.pair is None
    assert nlp.evaluate(examples)["cats_micro_f"] == 1.0


@pytest.fixture(scope="module")
def trained_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: UnigramTokenizer
) -> Path:
    """A checkpoint with a head for three labels."""
    torch.manual_seed(3)
    labels = {0: "no", 1: "maybe", 2: "yes"}
    config = tiny_config(id2label=labels, initializer_range=0.5, type_vocab_size=2)
    folder = tmp_path_factory.mktemp("classifier")
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer.save(folder)
    return folder


TEXTS_OF_LOGITS = [("a letter from Warsaw", "the old river"), ("the old river",)]


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
def test_a_pretrained_head_gives_its_own_logits(trained_folder: Path, shared: bool) -> None:
    nlp = textcat_nlp(trained_folder, shared=shared)
    nlp.config["initialize"]["components"]["textcat"] = {"head": str(trained_folder)}
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a"), {"cats": {"yes": 1.0}})])
    model = DebertaV2ForSequenceClassification.from_pretrained(trained_folder)
    doc = nlp.make_doc("a letter from Warsaw")
    doc._.pair = "the old river"
    single = nlp.make_doc("the old river")

    logits = nlp.get_pipe("textcat").model.predict([doc, single])

    assert nlp.get_pipe("textcat").labels == ("no", "maybe", "yes")
    for row, texts in zip(logits, TEXTS_OF_LOGITS, strict=True):
        with torch.no_grad():
            expected = model(**_encode(nlp, *texts)).logits[0]
        np.testing.assert_allclose(row, expected, atol=1e-5)
        assert np.ptp(row) > 0.1
    cats = nlp(doc).cats
    assert list(cats.values()) == pytest.approx(
        torch.from_numpy(logits[0]).softmax(-1).tolist(), abs=1e-6
    )


def _encode(nlp: Language, first: str, second: str | None = None) -> dict[str, torch.Tensor]:
    from spacy_deberta.thinc_layers.sequences import sequence_encoder

    tokenizer = sequence_encoder(nlp.get_pipe("textcat").model).tokenizer
    a = [tokenizer.cls_id, *tokenizer.encode(first).ids.tolist(), tokenizer.sep_id]
    b = [] if second is None else [*tokenizer.encode(second).ids.tolist(), tokenizer.sep_id]
    types = [0] * len(a) + [1] * len(b)
    return {"input_ids": torch.tensor([a + b]), "token_type_ids": torch.tensor([types])}


def test_labels_of_a_pretrained_head_can_be_renamed(trained_folder: Path) -> None:
    nlp = textcat_nlp(trained_folder)
    init = {"head": str(trained_folder), "labels": ["n", "m", "y"]}
    train(nlp, [Example.from_dict(nlp.make_doc("a"), {"cats": {"y": 1.0}})], 0, **init)

    assert nlp.get_pipe("textcat").labels == ("n", "m", "y")


def test_data_with_labels_that_the_head_lacks_is_an_error(trained_folder: Path) -> None:
    nlp = textcat_nlp(trained_folder)
    example = Example.from_dict(nlp.make_doc("a"), {"cats": {"YES": 1.0}})

    with pytest.raises(
        ConfigError, match=r"the data has labels \['YES'\], expected \['no', 'maybe'"
    ):
        train(nlp, [example], 0, head=str(trained_folder))


def test_a_checkpoint_without_a_head_is_an_error(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)

    with pytest.raises(CheckpointError, match="holds no"):
        train(nlp, text_examples(nlp), 0, head=str(tiny_source))


@pytest.mark.parametrize("mode", ["exclusive", "multilabel"])
def test_long_texts_are_windows_merged(tiny_source: Path, mode: str) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode, model={"window": 12, "stride": 5})
    train(nlp, text_examples(nlp, mode), 3)
    model = nlp.get_pipe("textcat").model
    pieces = _encode(nlp, " ".join(TEXTS))["input_ids"][0, 1:-1].tolist()
    rows = [pieces[start : start + 10] for start in range(0, len(pieces) - 4, 5)]

    merged = model.predict([nlp.make_doc(" ".join(TEXTS))])[0]

    from spacy_deberta.thinc_layers.sequences import PieceSequence

    encoder, head = model.layers
    laid = [PieceSequence(np.array([1, *row, 2])) for row in rows]
    logits = head.predict(np.stack([states[0] for states in encoder.predict(laid)]))
    weights = np.array([len(rows[0])] + [len(row) - 5 for row in rows[1:]])
    expected = logits.max(0) if mode == "multilabel" else weights @ logits / weights.sum()
    np.testing.assert_allclose(merged, expected, atol=1e-5)


def test_windows_get_the_right_gradients(tiny_source: Path) -> None:
    for mode in ("exclusive", "multilabel"):
        nlp = textcat_nlp(tiny_source, mode=mode, model={"window": 12, "stride": 5})
        train(nlp, text_examples(nlp, mode), 1)
        model = nlp.get_pipe("textcat").model
        docs = [nlp.make_doc(" ".join(TEXTS)), nlp.make_doc(TEXTS[0])]
        _, backprop = model.begin_update(docs)
        direction = np.array([[1.0, -0.5], [0.3, 0.7]], dtype="f")
        backprop(direction)
        head = next(iter(model.layers[1].shims[0].module.parameters()))
        encoder = model.layers[0].shims[0].encoder.embeddings.norm.bias
        for parameter in (head, encoder):
            step = torch.zeros_like(parameter)
            step.view(-1)[3] = 1e-2
            values = []
            for change in (step, -2 * step):
                with torch.no_grad():
                    parameter.add_(change)
                model.layers[0].shims[0].encoder.train()
                values.append(float((model.predict(docs) * direction).sum()))
            with torch.no_grad():
                parameter.add_(step)
            assert parameter.grad is not None
            expected = float(parameter.grad.view(-1)[3])
            assert (values[0] - values[1]) / 2e-2 == pytest.approx(expected, rel=0.02, abs=2e-3)


@pytest.mark.parametrize("problem", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_losses_are_those_of_torch(problem: str) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4, 3)) * 5
    truths = np.eye(3)[[0, 2, 1, 1]] if problem == SINGLE_LABEL else random.random((4, 3))
    a, b = torch.from_numpy(logits), torch.from_numpy(truths)
    expected = {
        SINGLE_LABEL: lambda: torch.nn.functional.cross_entropy(a, b, reduction="none"),
        MULTI_LABEL: lambda: torch.nn.functional.binary_cross_entropy_with_logits(
            a, b, reduction="none"
        ).sum(1),
        REGRESSION: lambda: ((a - b) ** 2).sum(1),
    }[problem]()

    np.testing.assert_allclose(class_losses(logits, truths, problem).sum(1), expected)


@pytest.mark.parametrize("mode", ["exclusive", "multilabel", "regression"])
def test_the_gradient_is_the_derivative_of_the_loss(tiny_source: Path, mode: str) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode)
    examples = text_examples(nlp, mode)
    train(nlp, examples, 0)
    examples[0].reference.cats = {}
    examples[1].reference.cats = {k: v for k, v in list(examples[1].reference.cats.items())[:1]}
    pipe = nlp.get_pipe("textcat")
    logits = np.random.default_rng(0).normal(size=(len(examples), len(pipe.labels)))

    _, gradient = pipe.get_loss(examples, logits)

    for place in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-4
        up, down = (pipe.get_loss(examples, logits + sign * step)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-4, abs=1e-4)
    assert not gradient[0].any()
    assert mode == "regression" or gradient[1, 1] == 0


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
