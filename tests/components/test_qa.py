"""`deberta_qa`: what it reads and writes, learns, keeps and survives."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import load_config, load_model_from_config

from spacy_deberta.components.qa import DebertaAnswers
from spacy_deberta.components.qa_scoring import score_answers, training_answer
from spacy_deberta.corpora.question_docs import (
    DocAnswer,
    questions_of,
    read_answers,
    write_answers,
)
from spacy_deberta.errors import ConfigError, DataError
from tests.tiny import add_encoder

TEXT = "Ada Byron met Charles Babbage in London, in 1833."
QUESTIONS = [{"id": "q1", "question": "met the painter"}, {"id": "q2", "question": "carried"}]
LISTENS = {"@architectures": "spacy-deberta.SequenceListener.v1"}
CONFIG = Path(__file__).parents[2] / "configs" / "qa_v2.cfg"


def make_nlp(source: Path, *, alone: bool = False, **settings: Any) -> Language:
    nlp = spacy.blank("en")
    sequences: dict[str, Any] = dict(LISTENS)
    if alone:
        sequences = {"@architectures": "spacy-deberta.SequenceModel.v1", "source": str(source)}
    else:
        add_encoder(nlp, source)
    model = {"@architectures": "spacy-deberta.AnswerSpans.v1", "tok2vec": sequences}
    small = {"window": 64, "overlap": 16, **settings}
    nlp.add_pipe("deberta_qa", name="qa", config={"model": {**model, "dropout": 0.0}, **small})
    return nlp


def make_example(nlp: Language, text: str = TEXT) -> Example:
    """q1 is answered by "Charles Babbage", q2 is not answered."""
    reference = nlp.make_doc(text)
    reference._.qa = QUESTIONS
    start = text.index("Charles")
    answer = DocAnswer("q1", start, start + len("Charles Babbage"))
    write_answers(reference, "qa", [answer], {"q1": 0.0, "q2": 1.0})
    return Example(nlp.make_doc(text), reference)


def train(nlp: Language, n_steps: int = 40, text: str = TEXT) -> float:
    optimizer = nlp.initialize()
    optimizer.learn_rate = 0.01
    losses: dict[str, float] = {}
    for _ in range(n_steps):
        losses = {}
        nlp.update([make_example(nlp, text)], sgd=optimizer, losses=losses)
    return losses["qa"]


def ask(nlp: Language, text: str = TEXT) -> Doc:
    doc = nlp.make_doc(text)
    doc._.qa = QUESTIONS
    return nlp(doc)


@pytest.fixture(scope="module")
def trained(tiny_source: Path) -> Language:
    nlp = make_nlp(tiny_source)
    train(nlp)
    return nlp


def test_it_learns_to_answer_and_to_say_nothing(trained: Language) -> None:
    doc = ask(trained)
    group = doc.spans["qa"]
    assert [(span.text, span.id_) for span in group] == [("Charles Babbage", "q1")]
    assert group.attrs["offsets"] == [[14, 29]]
    assert 0.5 < group.attrs["scores"][0] <= 1
    nulls = group.attrs["null_scores"]
    assert nulls["q1"] < 0.5 < nulls["q2"]
    scores = trained.evaluate([make_example(trained)])
    assert (scores["qa_exact"], scores["qa_f1"], scores["qa_no_answer_exact"]) == (1, 1, 1)


def test_an_encoder_of_its_own_learns_too(tiny_source: Path) -> None:
    nlp = make_nlp(tiny_source, alone=True)
    train(nlp)
    doc = ask(nlp)
    assert [span.text for span in doc.spans["qa"]] == ["Charles Babbage"]


def test_training_reaches_the_shared_encoder(tiny_source: Path) -> None:
    nlp = make_nlp(tiny_source)
    optimizer = nlp.initialize()
    shim = nlp.get_pipe("deberta").model.shims[0]
    before = {name: p.detach().clone() for name, p in shim.encoder.named_parameters()}
    nlp.update([make_example(nlp)], sgd=optimizer)
    changed = [name for name, p in shim.encoder.named_parameters() if (p != before[name]).any()]
    assert any("query" in name for name in changed)


def test_an_answer_in_a_late_window_is_found(tiny_source: Path) -> None:
    text = "the quiet garden behind the old station. " * 6 + TEXT
    nlp = make_nlp(tiny_source)
    train(nlp, 40, text)
    doc = ask(nlp, text)
    (span,) = doc.spans["qa"]
    assert (span.text, span.start_char) == ("Charles Babbage", text.index("Charles"))


def test_loss_is_the_mean_cross_entropy_and_its_gradient(tiny_source: Path) -> None:
    nlp = make_nlp(tiny_source)
    nlp.initialize()
    qa: DebertaAnswers = nlp.get_pipe("qa")
    doc = make_example(nlp).reference
    windows = [window for each in qa._lay([doc]) for window in each.windows]
    taught = [(windows[0], (windows[0].offset + 2, windows[0].offset + 4)), (windows[1], (0, 0))]
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(len(window.ids), 2)).astype("f") for window in windows]
    loss, gradient = qa.get_loss(taught, logits)
    expected = []
    for (window, places), each in zip(taught, logits, strict=True):
        rows = [0, *range(window.offset, len(window.ids) - 1)]
        for side, place in enumerate(places):
            z = np.log(sum(np.exp(float(each[row, side])) for row in rows))
            expected.append(z - float(each[place, side]))
    assert loss == pytest.approx(np.mean(expected), rel=1e-5)
    step = 1e-2
    for number, row, side in [(0, 0, 0), (0, taught[0][1][1], 1), (1, len(windows[1].ids) - 2, 0)]:
        moved = []
        for sign in (1, -1):
            changed = [each.copy() for each in logits]
            changed[number][row, side] += sign * step
            moved.append(qa.get_loss(taught, changed)[0])
        slope = (moved[0] - moved[1]) / (2 * step)
        assert gradient[number][row, side] == pytest.approx(slope, abs=1e-4)
    assert not gradient[0][1 : windows[0].offset].any()  # the question is no place for an answer


def test_questions_that_are_not_judged_teach_nothing(tiny_source: Path) -> None:
    nlp = make_nlp(tiny_source)
    optimizer = nlp.initialize()
    reference = nlp.make_doc(TEXT)
    reference._.qa = QUESTIONS
    losses: dict[str, float] = {}
    nlp.update([Example(nlp.make_doc(TEXT), reference)], sgd=optimizer, losses=losses)
    assert losses["qa"] == 0.0
    nothing = Example(nlp.make_doc(""), nlp.make_doc(""))
    nlp.update([nothing], sgd=optimizer, losses=losses)
    assert losses["qa"] == 0.0


def test_docs_without_questions_stay_as_they_are(trained: Language) -> None:
    assert "qa" not in trained("no questions here").spans
    doc = trained.make_doc("")
    doc._.qa = QUESTIONS
    group = trained(doc).spans["qa"]  # the same Doc
    assert (list(group), group.attrs["null_scores"]) == ([], {"q1": 1.0, "q2": 1.0})


def test_the_threshold_decides_and_can_be_searched(trained: Language) -> None:
    qa = trained.get_pipe("qa")
    kept = qa.cfg["threshold"]
    try:
        qa.cfg["threshold"] = 0.0
        silent = ask(trained)
        assert list(silent.spans["qa"]) == []
        qa.cfg["threshold"] = 1.1
        doc = ask(trained)
        assert {span.id_ for span in doc.spans["qa"]} == {"q1", "q2"}
    finally:
        qa.cfg["threshold"] = kept


def test_disk_bytes_and_pickle_keep_it(trained: Language, tmp_path: Path) -> None:
    expected = ask(trained).spans["qa"].attrs
    trained.to_disk(tmp_path)
    copies = [spacy.load(tmp_path), pickle.loads(pickle.dumps(trained))]
    copies.append(spacy.blank("en").from_config(trained.config).from_bytes(trained.to_bytes()))
    for copy in copies:
        assert ask(copy).spans["qa"].attrs["scores"] == pytest.approx(expected["scores"], rel=1e-5)
        assert copy.get_pipe("qa").cfg == trained.get_pipe("qa").cfg


def test_docbin_keeps_questions_and_answers(trained: Language) -> None:
    reference = make_example(trained).reference
    binary = DocBin(docs=[reference, ask(trained)], store_user_data=True).to_bytes()
    gold, found = DocBin().from_bytes(binary).get_docs(trained.vocab)
    assert questions_of(gold) == questions_of(reference)
    assert read_answers(gold, "qa") == read_answers(reference, "qa")
    scores = score_answers([Example(found, gold)])
    assert scores["qa_exact"] == 1.0


def test_docs_of_worker_processes_are_the_same(trained: Language) -> None:
    docs = [trained.make_doc(TEXT) for _ in range(3)]
    for doc in docs:
        doc._.qa = QUESTIONS
    found = list(trained.pipe(docs, n_process=2, batch_size=2))
    assert [doc.spans["qa"][0].text for doc in found] == ["Charles Babbage"] * 3
    assert found[0].spans["qa"].attrs["null_scores"].keys() == {"q1", "q2"}


def test_batches_change_nothing(trained: Language) -> None:
    docs = [trained.make_doc(text) for text in (TEXT, "the old river. " * 30, "London")]
    for doc in docs:
        doc._.qa = QUESTIONS
    together = [doc.spans["qa"].attrs["null_scores"] for doc in trained.pipe(docs)]
    for text, nulls in zip((TEXT, "the old river. " * 30, "London"), together, strict=True):
        assert ask(trained, text).spans["qa"].attrs["null_scores"] == pytest.approx(nulls, abs=1e-5)


def test_only_the_bad_doc_of_a_batch_is_lost(trained: Language) -> None:
    docs = [trained.make_doc(text) for text in (TEXT, "bad", "another")]
    docs[0]._.qa, docs[1]._.qa = QUESTIONS, "no list"
    seen: list[tuple[str, list[str]]] = []
    qa = trained.get_pipe("qa")
    before = qa.get_error_handler()
    qa.set_error_handler(lambda name, pipe, bad, error: seen.append((name, [d.text for d in bad])))
    try:
        assert [doc.text for doc in trained.pipe(docs)] == [TEXT, "another"]
    finally:
        qa.set_error_handler(before)
    assert seen == [("qa", ["bad"])]


def test_a_prediction_holds_no_more_for_a_longer_text(trained: Language) -> None:
    """It had all spans of the text: hundreds of MB for a million characters."""
    sizes = []
    for text in (TEXT, " ".join([TEXT] * 40)):
        doc = trained.make_doc(text)
        doc._.qa = QUESTIONS
        (questions,) = trained.get_pipe("qa").predict([doc])
        sizes.append([len(spans) for _, spans in questions])
    assert sizes == [[1, 1], [1, 1]]


def test_a_trained_head_is_taken_from_a_checkpoint(tmp_path: Path) -> None:
    from tests.pipelines.models import write_model

    folder = write_model(tmp_path / "qa", "question-answering")
    nlp = make_nlp(folder)
    nlp.config["initialize"]["components"]["qa"] = {"head": str(folder)}
    nlp.initialize()
    doc = ask(nlp)
    from pipelines.question_answering import QuestionAnsweringPipeline

    answer = QuestionAnsweringPipeline(folder, handle_impossible_answer=True, max_answer_len=30)
    for question in QUESTIONS:
        record = answer(question=question["question"], context=TEXT)
        null = doc.spans["qa"].attrs["null_scores"][question["id"]]
        assert null == pytest.approx(record.null_score, abs=1e-5)


@pytest.mark.parametrize(
    "given", [[{"id": "q"}], ["who?"], [*QUESTIONS, QUESTIONS[0]], [{"id": "q", "question": 3}]]
)
def test_questions_of_another_form_are_refused(trained: Language, given: Any) -> None:
    doc = trained.make_doc(TEXT)
    doc._.qa = given
    with pytest.raises(DataError, match=r"doc._.qa: found .* expected a list"):
        trained(doc)


def test_the_answer_that_most_gave_is_learned() -> None:
    answers = [DocAnswer("q", 3, 5), DocAnswer("q", 1, 2), DocAnswer("q", 1, 2)]
    assert training_answer(answers) == (1, 2)
    assert training_answer([]) is None


def test_an_answer_inside_a_token_keeps_its_characters(trained: Language) -> None:
    doc = trained.make_doc("built in 1990-1991.")
    write_answers(doc, "qa", [DocAnswer("q", 9, 13)], {"q": 0.0})
    (answer,) = read_answers(doc, "qa")["q"]
    assert doc.text[answer.start : answer.end] == "1990"
    with pytest.raises(DataError, match="expected a part of the Doc's 19 characters"):
        write_answers(doc, "qa", [DocAnswer("q", 40, 50)], {})


def test_the_config_trains_two_steps(tiny_source: Path) -> None:
    config = load_config(CONFIG)
    config["paths"]["source"] = str(tiny_source)
    config["components"]["qa"].update({"window": 64, "overlap": 16})
    nlp = load_model_from_config(config, auto_fill=True)
    optimizer = nlp.initialize()
    for _ in range(2):
        losses: dict[str, float] = {}
        nlp.update([make_example(nlp)], sgd=optimizer, losses=losses)
        assert losses["qa"] > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlap", -1),
        ("top_k", 0),
        ("max_answer_len", 0),
        ("max_question_len", 0),
        ("threshold", -1.0),
        ("window", 20),
    ],
)
def test_settings_that_cannot_be_are_refused(tiny_source: Path, key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"'qa': {key}={value}, expected"):
        make_nlp(tiny_source, **{key: value})
