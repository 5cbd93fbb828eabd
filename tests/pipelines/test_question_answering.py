"""Question answering; "row N" is a row of the test matrix in the specification of the pipelines."""

import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spacy

from pipelines.question_answering import QuestionAnsweringPipeline
from pipelines.records import Answer, Answers, Failed
from spacy_deberta.decoding.calibration import Calibration
from spacy_deberta.errors import HeadMissingError, InputError, OptionError
from tests.pipelines.models import build_model, tokenizer_of, write_model

CASES = json.loads(
    (Path(__file__).parent / "transformers-4.57.6" / "question-answering.json").read_text("utf-8")
)
TEXT = "My name is Wolfgang and I live in Berlin. Paris and paris and Paris."
WHERE = "Where do I live?"
LONG = "The old river crossed the quiet village; a letter came from London in 1911. " * 8


def make(family: str = "v3", **options: Any) -> QuestionAnsweringPipeline:
    model = build_model("question-answering", family)  # type: ignore[arg-type]
    tokenizer = tokenizer_of(family)  # type: ignore[arg-type]
    return QuestionAnsweringPipeline(model, tokenizer=tokenizer, **options)


@pytest.fixture(scope="module")
def answer() -> QuestionAnsweringPipeline:
    return make()


@pytest.fixture(scope="module", params=["v3", "v1"])
def either(request: pytest.FixtureRequest) -> QuestionAnsweringPipeline:
    return make(request.param)


@pytest.fixture(scope="module")
def compat() -> dict[str, QuestionAnsweringPipeline]:
    return {family: make(family, hf_compat=True) for family in ("v3", "v1")}


# --- as transformers ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[str(number) for number in range(len(CASES))])
def test_compat_returns_what_transformers_returns(
    compat: dict[str, QuestionAnsweringPipeline], case: dict[str, Any]
) -> None:
    pipeline, call = compat[case["family"]], case["call"]
    if "stream" in call:
        found = list(pipeline(iter(call["stream"]), **case["options"]))
    else:
        found = pipeline(**call, **case["options"])
    assert_same(found, case["expected"])


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        assert found.pop("score") == pytest.approx(score := expected["score"], abs=1e-4)
        assert found == {key: value for key, value in expected.items() if value is not score}
    else:
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


def test_compat_refuses_what_transformers_refuses(
    compat: dict[str, QuestionAnsweringPipeline],
) -> None:
    for empty in ({"question": "", "context": TEXT}, {"question": WHERE, "context": ""}):
        with pytest.raises(InputError, match="found ''"):
            compat["v3"](**empty)
    with pytest.raises(InputError, match="2 questions and 1 contexts"):
        compat["v3"](question=[WHERE, WHERE], context=[TEXT])


# --- the rows of the matrix -----------------------------------------------------------------------


@pytest.mark.parametrize("max_seq_len", [24, 32, 48, 64])
def test_row_68_scores_sum_to_one_whatever_the_windows(
    either: QuestionAnsweringPipeline, max_seq_len: int
) -> None:
    """row 68: a sentence repeated 30 times; the sum of window softmaxes was 3.43."""
    context = "Marie Curie moved from Warsaw to Paris.  " * 30
    options = {"top_k": 5000, "overlap": 1.0, "max_seq_len": max_seq_len}
    found = either(question=WHERE, context=context, **options)
    assert sum(each.score for each in found.nbest) == pytest.approx(1.0, abs=1e-6)
    places = [(each.start, each.end) for each in found.nbest]
    assert len(set(places)) == len(places)
    nulled = either(question=WHERE, context=context, handle_impossible_answer=True, **options)
    spans = [each.score for each in nulled.nbest if each]
    assert sum(spans) + nulled.null_score == pytest.approx(1.0, abs=1e-6)


def test_row_69_scores_do_not_depend_on_top_k(answer: QuestionAnsweringPipeline) -> None:
    """row 69: top_k=1 and 3 gave 0.0522 and 0.0574."""
    one = answer(question=WHERE, context=TEXT)
    three = answer(question=WHERE, context=TEXT, top_k=3)
    assert one.best == three.best
    assert len(three.nbest) == 3


def test_row_70_every_place_of_a_text_is_an_answer_of_its_own() -> None:
    """row 70: "Paris and paris and Paris"; group_by_text puts them together."""
    answer, text = make(), "Paris and paris and Paris"
    options = {"top_k": 50, "max_answer_len": 20, "overlap": 1.0}
    apart = [each for each in answer(question=WHERE, context=text, **options).nbest]
    named = [each for each in apart if each.text.lower() == "paris"]
    assert sorted(each.start for each in named) == [0, 10, 20]
    grouped = answer(question=WHERE, context=text, group_by_text=True, **options).nbest
    (together,) = [each for each in grouped if each.text.lower() == "paris"]
    assert sorted(together.places) == [(0, 0, 5), (0, 10, 15), (0, 20, 25)]
    assert together.score == pytest.approx(sum(each.score for each in named))


def test_row_71_answers_are_trimmed_words(either: QuestionAnsweringPipeline) -> None:
    """row 71: no leading space, no half word; the final dot only where the model chose it."""
    found = either(question=WHERE, context=TEXT, top_k=2000, overlap=1.0).nbest
    texts = {each.text for each in found}
    assert {"Berlin", "Berlin."} <= texts
    for each in found:
        assert TEXT[each.start : each.end] == each.text == each.text.strip()
        assert not (each.start and TEXT[each.start - 1].isalnum() and TEXT[each.start].isalnum())
        assert not TEXT[each.end - 1 : each.end + 1].isalnum() or each.end == len(TEXT)


def test_row_72_a_long_question_is_cut_with_a_warning(
    answer: QuestionAnsweringPipeline, compat: dict[str, QuestionAnsweringPipeline]
) -> None:
    """row 72: longer than the window or max_question_len; compat refuses instead of crashing."""
    question = "where does the painter live " * 20 + "?"
    with pytest.warns(UserWarning, match="pieces was cut to its head of 8"):
        found = answer(question=question, context=TEXT, max_question_len=8)
    assert found.best
    with pytest.warns(UserWarning, match="cut to its tail of 8"):
        other = answer(question=question, context=TEXT, max_question_len=8, question_keep="tail")
    assert other.best.score != found.best.score
    with pytest.warns(UserWarning, match="cut"):
        assert answer(question=question, context=TEXT).best
    with pytest.raises(InputError, match="leave no room for the context in max_seq_len=64"):
        compat["v3"](question=question, context=TEXT)


def test_row_73_a_stride_as_long_as_the_room_is_refused(
    answer: QuestionAnsweringPipeline, compat: dict[str, QuestionAnsweringPipeline]
) -> None:
    """row 73: it was a panic in Rust that `except Exception` does not catch."""
    for pipeline in (answer, compat["v3"]):
        with pytest.raises(OptionError, match=r"doc_stride=60, but max_seq_len=64 leaves room for"):
            pipeline(question=WHERE, context=LONG, doc_stride=60)


@pytest.mark.parametrize("context", ["", "   ", "\n\t "])
def test_row_74_an_empty_context_has_no_answer(
    answer: QuestionAnsweringPipeline, context: str
) -> None:
    """row 74: no answer and its reason; an empty question is an error."""
    found = answer(question=WHERE, context=context)
    assert found.best == Answer.none(reason="empty context")
    assert found.null_score == 1.0
    for question in ("", "  "):
        with pytest.raises(InputError, match="expected a question"):
            answer(question=question, context=TEXT)


def test_row_75_several_contexts_share_one_distribution(answer: QuestionAnsweringPipeline) -> None:
    """row 75: scores over all contexts sum to 1, and the record says which context it was."""
    contexts = [LONG, "", TEXT]
    for options in ({}, {"handle_impossible_answer": True}):
        found = answer(question=WHERE, contexts=contexts, top_k=9000, overlap=1.0, **options)
        total = sum(each.score for each in found.nbest if each) + found.null_score
        assert total == pytest.approx(1.0, abs=1e-6)
        assert {each.context_index for each in found.nbest if each} == {0, 2}
        for each in found.nbest:
            assert contexts[each.context_index][each.start : each.end] == each.text
    many = answer(question=[WHERE, "Who?"], contexts=contexts)
    assert [type(each) for each in many] == [Answers, Answers]


def test_row_76_answers_do_not_overlap_unless_asked(answer: QuestionAnsweringPipeline) -> None:
    """row 76: five answers lay inside each other."""
    found = answer(question=WHERE, context=TEXT, top_k=5).nbest
    places = sorted((each.start, each.end) for each in found)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(places))
    assert all(each.mass >= each.score for each in found)
    nested = answer(question=WHERE, context=TEXT, top_k=5, overlap=1.0).nbest
    places = sorted((each.start, each.end) for each in nested)
    assert any(a[1] > b[0] for a, b in itertools.pairwise(places))


def test_row_77_the_type_does_not_depend_on_how_many_answers_there_are(
    answer: QuestionAnsweringPipeline, compat: dict[str, QuestionAnsweringPipeline]
) -> None:
    """row 77: a list that held one answer became a dict; only compat keeps that."""
    for top_k in (1, 5):
        found = answer(question=WHERE, context="Berlin", top_k=top_k)
        assert isinstance(found, Answers)
        assert isinstance(found.nbest, tuple)
    assert isinstance(answer([{"question": WHERE, "context": TEXT}]), list)
    assert isinstance(compat["v3"]([{"question": WHERE, "context": TEXT}]), dict)


def test_row_80_a_checkpoint_without_the_head_is_refused(tmp_path: Path) -> None:
    """row 80: the head is named; no random answers."""
    folder = write_model(tmp_path / "ner", "token-classification")
    with pytest.raises(HeadMissingError, match="question-answering"):
        QuestionAnsweringPipeline(folder)


# --- inputs ---------------------------------------------------------------------------------------


def test_all_forms_of_an_input_are_the_same(answer: QuestionAnsweringPipeline) -> None:
    expected = answer(question=WHERE, context=TEXT)
    item = {"question": WHERE, "context": TEXT}
    squad = SimpleNamespace(question_text=WHERE, context_text=TEXT)
    doc = spacy.blank("en")(TEXT)
    assert answer(item) == answer({**item, "id": 7}) == answer(squad) == expected
    assert answer(WHERE, TEXT) == answer((WHERE, TEXT)) == answer(data=item) == expected
    assert (
        answer(question=WHERE, context=doc) == answer(question=WHERE, contexts=[TEXT]) == expected
    )
    assert answer(X=[item, squad]) == answer(question=[WHERE, WHERE], context=TEXT)
    assert list(answer(each for each in [item, item])) == [expected, expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": WHERE}, "expected question= and context="),
        ({"question": WHERE, "context": [TEXT]}, "give it as contexts="),
        ({"question": WHERE, "contexts": []}, "expected one text or more"),
        ({"question": WHERE, "context": 7}, "context: found int"),
        ({"data": {"question": WHERE}}, "expected the keys 'question' and 'context'"),
        ({"data": {"question": None, "context": TEXT}}, "expected the keys"),
        ({"data": "where"}, "expected question= and context="),
    ],
)
def test_bad_inputs_are_refused(
    answer: QuestionAnsweringPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        answer(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k=0"),
        ({"max_answer_len": 0}, "max_answer_len=0"),
        ({"null": "min"}, "null='min'"),
        ({"topp_k": 2}, "Did you mean 'top_k'"),
        ({"overlap": 2}, "overlap=2"),
    ],
)
def test_bad_options_are_refused(
    answer: QuestionAnsweringPipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        answer(question=WHERE, context=TEXT, **options)


def test_a_bad_item_does_not_cost_the_others(answer: QuestionAnsweringPipeline) -> None:
    items: list[Any] = [(WHERE, TEXT), ("", TEXT), (WHERE, LONG)]
    found = answer(items, on_error="return")
    assert [type(each) for each in found] == [Answers, Failed, Answers]
    assert found[2] == answer(WHERE, LONG)


def test_neighbours_in_a_batch_change_nothing(answer: QuestionAnsweringPipeline) -> None:
    items = [(WHERE, TEXT), (WHERE, LONG), ("Who?", "Ada")]
    together = answer(items)
    for one, item in zip(together, items, strict=True):
        assert one.best.score == pytest.approx(answer(*item).best.score, abs=1e-5)


# --- no answer, records, calibration --------------------------------------------------------------


def test_no_answer_wins_from_the_threshold_up(answer: QuestionAnsweringPipeline) -> None:
    options = {"question": WHERE, "context": TEXT, "handle_impossible_answer": True}
    null = answer(**options).null_score
    assert 0 < null < 1
    silent = answer(**options, no_answer_threshold=null)
    assert (silent.best.text, silent.best.score) == ("", pytest.approx(null))
    assert answer(**options, no_answer_threshold=min(1.0, null + 1e-6)).best.text
    ranked = answer(**options, no_answer_threshold=1.0, top_k=20).nbest
    assert sum(not each for each in ranked) == 1
    assert answer(question=WHERE, context=TEXT).null_score == 0.0


def test_records_become_json(answer: QuestionAnsweringPipeline) -> None:
    found = answer(question=WHERE, context=LONG, top_k=3, handle_impossible_answer=True)
    content = json.loads(found.to_json())
    assert list(content)[:4] == ["score", "start", "end", "answer"]
    assert len(content["nbest"]) == 3
    assert content["answer"] == found.best.text


def test_calibration_changes_scores_and_is_saved(tmp_path: Path) -> None:
    answer = make(handle_impossible_answer=True)
    before = answer(WHERE, TEXT)
    gold = ["Berlin", "", (11, 19), "Wolfgang"]
    examples = [((WHERE, TEXT), gold[number % 4]) for number in range(60)]
    report = answer.calibrate(examples)
    assert report.calibration.temperature != 1.0
    after = answer(WHERE, TEXT)
    assert after.null_score != before.null_score
    assert "no answer" in answer.calibration.thresholds
    answer.save_pretrained(tmp_path)
    assert QuestionAnsweringPipeline(tmp_path)(WHERE, TEXT) == after


def test_a_threshold_that_is_given_wins_over_the_calibrated_one() -> None:
    for calibrated, given in ((0.0, 1.0), (1.0, 0.0)):
        answer = make(
            handle_impossible_answer=True,
            calibration=Calibration(thresholds={"no answer": calibrated}),
        )
        assert bool(answer(WHERE, TEXT).best) == bool(calibrated)
        assert bool(answer(WHERE, TEXT, no_answer_threshold=given).best) == bool(given)


# --- Docs -----------------------------------------------------------------------------------------


def make_docs() -> Iterator[Any]:
    nlp = spacy.blank("en")
    questions = [["a", "b"], [], ["c"]]
    for text, ids in zip([TEXT, "nothing", LONG], questions, strict=True):
        doc = nlp(text)
        if not doc.has_extension("qa"):
            doc.set_extension("qa", default=None)
        doc._.qa = [{"id": each, "question": WHERE} for each in ids] or None
        yield doc


def test_docs_get_their_answers_in_order(answer: QuestionAnsweringPipeline) -> None:
    docs = list(answer.annotate(make_docs(), no_answer_threshold=1.0, top_k=1))
    assert [doc.text for doc in docs] == [TEXT, "nothing", LONG]
    group = docs[0].spans["qa"]
    assert [span.id_ for span in group] == ["a", "b"]
    assert group.attrs["null_scores"].keys() == {"a", "b"}
    (start, end), record = group.attrs["offsets"][0], answer(WHERE, TEXT, null="relative")
    assert TEXT[start:end] == record.best.text
    assert group.attrs["scores"][0] == pytest.approx(record.best.score)
    assert "qa" not in docs[1].spans
    again = spacy.tokens.Doc(docs[0].vocab).from_bytes(docs[0].to_bytes())
    assert [span.id_ for span in again.spans["qa"]] == ["a", "b"]


def test_a_doc_whose_question_fails_is_left_out_or_left_alone(
    answer: QuestionAnsweringPipeline,
) -> None:
    def spoiled() -> Iterator[Any]:
        for number, doc in enumerate(make_docs()):
            if number == 0:
                doc._.qa = [{"id": "a", "question": WHERE}, {"id": "b", "question": " "}]
            yield doc

    with pytest.raises(InputError, match="expected a question"):
        list(answer.annotate(spoiled()))
    skipped = list(answer.annotate(spoiled(), on_error="skip"))
    assert [doc.text for doc in skipped] == ["nothing", LONG]
    kept = list(answer.annotate(spoiled(), on_error="return"))
    assert ["qa" in doc.spans for doc in kept] == [False, False, True]


def test_a_model_of_floats_and_numbers_only(answer: QuestionAnsweringPipeline) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = answer(question=WHERE, context="日本の首都 👩‍👩‍👧 café " * 40, top_k=3)
    assert all(
        isinstance(each.score, float) and not isinstance(each.score, np.floating)
        for each in found.nbest
    )
