"""Inputs and options that users give and nobody expects: each is answered, or refused by name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch

from pipelines import pipeline
from pipelines.__main__ import main
from pipelines.features import FeatureExtractionPipeline
from pipelines.fill_mask import FillMaskPipeline
from pipelines.ner import NerPipeline
from pipelines.question_answering import QuestionAnsweringPipeline
from pipelines.records import Answers, Failed
from pipelines.text_classification import TextClassificationPipeline
from pipelines.zero_shot import ZeroShotClassificationPipeline
from spacy_deberta.errors import InputError, OptionError
from tests.pipelines.classifiers import write_classifier
from tests.pipelines.conftest import Written
from tests.pipelines.models import build_model, tokenizer_of
from tests.pipelines.toy import ToyPipeline

TEXT = "One. Angela Merkel lives in Berlin. Two."
LONG = "The old river crossed the quiet village. " * 40


def build(kind: Any, **options: Any) -> Any:
    classes: dict[str, Any] = {
        "feature-extraction": FeatureExtractionPipeline,
        "fill-mask": FillMaskPipeline,
        "question-answering": QuestionAnsweringPipeline,
        "token-classification": NerPipeline,
    }
    return classes[kind](build_model(kind, "v3"), tokenizer=tokenizer_of("v3"), **options)


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> ZeroShotClassificationPipeline:
    folder = tmp_path_factory.mktemp("nli")
    return ZeroShotClassificationPipeline(write_classifier(folder, "nli"))


# --- inputs ---------------------------------------------------------------------------------------


def test_a_span_is_read_as_its_own_words() -> None:
    pipe = build("token-classification")
    doc = spacy.blank("en")(TEXT)
    span = doc[2:8]
    words = [token.text for token in span]
    found = [(e.text, e.label, e.score) for e in pipe(span)]
    assert found == [(e.text, e.label, e.score) for e in pipe(spacy.blank("en")(span.text))]
    assert all(span.text[e.start : e.end] == e.text for e in pipe(span))
    assert all(" ".join(words[e.word_start : e.word_end])[0] == e.text[0] for e in pipe(span))


class Endless:
    """What torch asks of a map-style Dataset: a length, and items below it."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> str:
        return f"text {number}"


def test_a_dataset_ends_where_it_says(written: Written) -> None:
    pipe = ToyPipeline(written("text-classification"))
    assert [record.text for record in pipe(Endless())] == ["text 0", "text 1", "text 2"]


def test_rows_without_positions_fail_alone(tmp_path: Path) -> None:
    few = {"position_biased_input": True, "max_position_embeddings": 64}
    source = write_classifier(tmp_path, "single-v3", **few)
    pipe = TextClassificationPipeline(source, hf_compat=True)
    found = pipe(["a letter", LONG, "the river"], on_error="return")
    assert isinstance(found[1], Failed)
    assert "adds absolute positions" in found[1].message
    assert [found[0], found[2]] == pipe(["a letter", "the river"])
    ours = TextClassificationPipeline(source)
    with pytest.raises(InputError, match="expected at most"):
        ours(LONG, long="truncate", max_length=2000)


def test_compat_refuses_an_empty_question_in_its_place() -> None:
    pipe = build("question-answering", hf_compat=True)
    found = pipe([("Who?", "Marie wrote."), ("", "x"), ("Who?", "")], on_error="return")
    assert not isinstance(found[0], Failed)
    assert [one.index for one in found[1:]] == [1, 2]
    with pytest.raises(InputError, match="question: found ''"):
        pipe(question="", context="x")


def test_docs_are_annotated_from_the_places_of_compat() -> None:
    pipe = build("token-classification", hf_compat=True, aggregation_strategy="simple")
    doc = spacy.blank("en")(TEXT)
    found = pipe(TEXT)
    (annotated,) = pipe.annotate([doc])
    (spans,) = annotated.spans.values()
    assert len(spans) == len(found) > 0
    for span, one in zip(spans, found, strict=True):
        assert span.start_char < one["end"] <= span.end_char


def test_two_questions_with_one_id_are_refused() -> None:
    pipe = build("question-answering")
    doc = spacy.blank("en")("Marie wrote a letter.")
    list(pipe.annotate([doc]))  # makes the extension
    doc._.qa = [{"id": "1", "question": "Who?"}, {"id": 1, "question": "What?"}]
    with pytest.raises(InputError, match="two questions with the id '1'"):
        list(pipe.annotate([doc]))


def test_a_blank_context_is_an_example_of_no_answer() -> None:
    pipe = build("question-answering", handle_impossible_answer=True)
    examples = [(("Who wrote?", "Marie wrote a letter."), "Marie"), (("Why?", " "), "")] * 30
    report = pipe.calibrate(examples)
    assert report.calibration == pipe.calibration
    assert isinstance(pipe(question="Why?", context=" "), Answers)


# --- models ---------------------------------------------------------------------------------------


def test_a_model_object_keeps_its_precision() -> None:
    model = build_model("fill-mask", "v3").to(torch.bfloat16)
    pipe = FillMaskPipeline(model, tokenizer=tokenizer_of("v3"))
    assert pipe.model is model
    assert model.dtype == torch.bfloat16
    other = FillMaskPipeline(model, tokenizer=tokenizer_of("v3"), dtype="float32")
    assert (other.model.dtype, model.dtype) == (torch.float32, torch.bfloat16)


# --- options --------------------------------------------------------------------------------------


def test_a_label_that_leaves_no_room_is_refused(nli: ZeroShotClassificationPipeline) -> None:
    with pytest.raises(OptionError, match=r"a sentence of .* pieces, expected at most"):
        nli(LONG, ["a", "the letter " * 80])


def test_a_template_that_asks_for_an_attribute_is_refused(
    nli: ZeroShotClassificationPipeline,
) -> None:
    with pytest.raises(OptionError, match="hypothesis_template"):
        nli(TEXT, ["a"], hypothesis_template="{0.x}")


def test_windows_move_on(nli: ZeroShotClassificationPipeline) -> None:
    with pytest.raises(OptionError, match=r"overlap=1\.0, expected a number from 0 to less than 1"):
        nli(TEXT, ["a"], overlap=1.0)


@pytest.mark.parametrize("value", ["5", 2, -1, True, 1.5])
def test_lengths_in_a_call_are_whole_and_leave_room(value: object) -> None:
    fill, embed = build("fill-mask"), build("feature-extraction")
    with pytest.raises(OptionError, match="tokenizer_kwargs: max_length="):
        fill("a [MASK]", tokenizer_kwargs={"max_length": value})
    with pytest.raises(OptionError, match="tokenize_kwargs: max_length="):
        embed("a text", tokenize_kwargs={"truncation": True, "max_length": value})


# --- the command line -----------------------------------------------------------------------------


def run(written: Written, lines: str, out: Path, *more: str) -> tuple[int, list[dict[str, Any]]]:
    source = out.with_name("in.jsonl")
    source.write_text(lines, encoding="utf-8")
    model = str(written("text-classification"))
    status = main(
        ["text-classification", "--model", model, "-i", str(source), "-o", str(out), *more]
    )
    return status, list(_read(out))


def _read(out: Path) -> Iterator[dict[str, Any]]:
    for line in out.read_text("utf-8").splitlines():
        yield json.loads(line)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_line_with_what_is_no_number_fails_alone(
    written: Written, tmp_path: Path, number: str
) -> None:
    bad = f'{{"text": "x", "v": {number}}}'
    status, found = run(written, f'{{"text": "a"}}\n{bad}\n{{"text": "b"}}\n', tmp_path / "o")
    assert status == 3
    assert ["prediction" in line for line in found] == [True, False, True]
    assert found[1]["source"] == bad
    assert number in found[1]["error"]["message"]


def test_columns_called_error_are_no_failures(written: Written, tmp_path: Path) -> None:
    lines = '{"text": "a", "error": "old"}\n{"text": "b", "prediction": "old"}\n'
    status, found = run(written, lines, tmp_path / "o")
    assert status == 0
    assert all("error" not in line and line["prediction"] != "old" for line in found)
    status, again = run(written, lines, tmp_path / "o", "--resume")
    assert (status, again) == (0, found)


def test_the_embedded_model_says_how_much_it_reads() -> None:
    pipe = pipeline("sentiment-analysis", hf_compat=True)
    assert pipe.declared_length == 512
    found = pipe(["good film", "word " * 900], on_error="return", truncation=True)
    assert [type(one) for one in found] == [dict, dict]


def test_an_empty_sentence_in_words_has_no_entities() -> None:
    pipe = build("token-classification")
    found = pipe([["Marie", "Curie"], []], pretokenized=True)
    assert len(found) == 2
    assert list(found[1]) == []


def test_gold_answers_are_texts_or_places() -> None:
    pipe = build("question-answering")
    asked = ("Who wrote?", "Marie wrote a letter.")
    assert pipe.calibrate([(asked, [0, 5])], force=True).calibration == pipe.calibration
    with pytest.raises(InputError, match="gold answer: found list"):
        pipe.calibrate([(asked, ["Marie"])], force=True)


def test_compat_cannot_be_calibrated() -> None:
    with pytest.raises(OptionError, match="hf_compat=True"):
        build("token-classification", hf_compat=True).calibrate([("Marie", [])], force=True)


@pytest.mark.parametrize("value", [2, "x", {"nope": 0.1}, {"positive": "x"}, True])
def test_thresholds_are_shares_of_labels_there_are(written: Written, value: Any) -> None:
    pipe = pipeline("text-classification", written("text-classification"), threshold=value)
    with pytest.raises(OptionError, match="threshold"):
        pipe("a text")


def test_nested_spans_reach_a_half_unless_a_threshold_is_given() -> None:
    pipe = build("token-classification")
    found = pipe(TEXT, flat=False, threshold=0.0)
    assert len(found) > len(pipe(TEXT, flat=False))
    assert all(entity.score >= 0.5 for entity in pipe(TEXT, flat=False))
    assert [e.score for e in pipe(TEXT, flat=False, threshold=0.5)] == [
        e.score for e in pipe(TEXT, flat=False)
    ]
