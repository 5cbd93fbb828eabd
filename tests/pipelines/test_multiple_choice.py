"""Multiple choice: rows of the test matrix, windows, ragged choices, numbers of transformers."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc

from pipelines.multiple_choice import MultipleChoicePipeline
from pipelines.records import Choice, Failed
from spacy_deberta.errors import HeadMissingError, InputError, OptionError
from tests.pipelines.models import build_model, tokenizer_of, write_model
from tests.pipelines.same import same

RECORDED = Path(__file__).parent / "transformers-4.57.6" / "feature-extraction.json"
QUESTION = ("Where do fish live?", ["in water", "on trees and roofs", "x"])
LONG = "Many words are in this text. " * 12


@pytest.fixture(scope="module", params=["v3", "v1"])
def choose(request: pytest.FixtureRequest) -> MultipleChoicePipeline:
    family = request.param
    model = build_model("multiple-choice", family)
    return MultipleChoicePipeline(model, tokenizer=tokenizer_of(family))


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> MultipleChoicePipeline:
    folder = tmp_path_factory.mktemp("choice")
    return MultipleChoicePipeline(write_model(folder, "multiple-choice"))


def test_row_79_choices_have_scores_that_sum_to_one(choose: MultipleChoicePipeline) -> None:
    """row 79: transformers has no such task; ours returns `Choice` records."""
    found = choose(QUESTION)
    assert isinstance(found, Choice)
    assert found.text == QUESTION[1][found.index]
    assert found.score == max(found.scores) == found.scores[found.index]
    assert sum(found.scores) == pytest.approx(1, abs=1e-6)
    assert json.loads(json.dumps(found.to_dict()))["choices"] == QUESTION[1]
    assert type(found.index) is int
    assert all(type(score) is float for score in found.scores)


def test_row_79_the_numbers_are_those_of_the_transformers_model(v3: MultipleChoicePipeline) -> None:
    """row 79: the softmax of DebertaV2ForMultipleChoice, transformers 4.57.6."""
    recorded = json.loads(RECORDED.read_text())["multiple-choice"]
    found = v3((recorded["context"], recorded["choices"]))
    assert found.scores == pytest.approx(recorded["scores"], abs=1e-4)


def test_every_way_to_ask_gives_the_same(choose: MultipleChoicePipeline) -> None:
    context, choices = QUESTION
    expected = choose((context, choices))
    assert same(choose(context, choices), expected)
    assert same(choose(context=context, choices=choices), expected)
    assert same(choose(question=context, choices=choices), expected)
    assert same(choose({"question": context, "choices": choices}), expected)
    assert same(choose([{"text": context, "choices": choices}]), [expected])
    assert same(choose(question=[context, context], choices=[choices, choices]), [expected] * 2)
    assert same(list(choose(iter([QUESTION]))), [expected])


def test_data_sets_are_read_by_their_fields(choose: MultipleChoicePipeline) -> None:
    swag = {"sent1": "He waits.", "sent2": "He", "ending0": "sings.", "ending1": "sits."}
    assert choose(swag).scores == choose("He waits.", ["He sings.", "He sits."]).scores
    assert choose(swag).choices == ("sings.", "sits.")
    race = {"article": "A b.", "question": "_ is b", "options": ["x", "y"]}
    assert choose(race).scores == choose("A b.", ["_ is b x", "_ is b y"]).scores
    assert choose(race, cloze=True).scores == choose("A b.", ["x is b", "y is b"]).scores
    assert choose(race, format="race") == choose(race)


def test_ragged_questions_in_any_batch_give_what_they_give_alone(
    choose: MultipleChoicePipeline,
) -> None:
    questions = [("a question", [f"choice {n} " * (n % 5 + 1) for n in range(size)])
                 for size in (2, 7, 3, 30, 2)]  # fmt: skip
    alone = [choose(question) for question in questions]
    for batch_size in (1, 3, 64):
        together = choose(questions, batch_size=batch_size)
        for one, other in zip(alone, together, strict=True):
            assert one.index == other.index
            assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_equal_choices_go_to_the_first(choose: MultipleChoicePipeline) -> None:
    found = choose("a question", ["the same", "the same"])
    assert found.index == 0
    assert found.scores == pytest.approx((0.5, 0.5))


def test_only_contexts_are_cut_and_a_warning_counts_them(choose: MultipleChoicePipeline) -> None:
    questions = [(LONG, ["one", "two"]), ("short", ["one", "two"]), (LONG, ["a", "b"])]
    with pytest.warns(UserWarning, match=r"2 of 3 contexts have more than max_length=64"):
        found = choose(questions)
    assert [record.truncated for record in found] == [True, False, True]
    with pytest.warns(UserWarning, match="only their tail was read"):
        tail = choose((LONG + "An end.", ["one", "two"]), long="tail")
    with pytest.warns(UserWarning, match="only their head was read"):
        assert same(choose((LONG + "An end.", ["one", "two"])).scores, found[0].scores)
    assert not same(tail.scores, found[0].scores)


def test_windows_read_all_of_a_context_without_a_warning(choose: MultipleChoicePipeline) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = choose((LONG, ["one", "two"]), long="window")
    assert found.n_windows > 2
    assert not found.truncated
    ends = [f"{LONG} {end}" for end in ("The end.", "A fish.", "Roofs and trees!")]
    others = choose([(end, ["one", "two"]) for end in ends], long="window")
    assert any(other.scores != found.scores for other in others)


def test_a_choice_without_room_for_any_context_is_an_error(choose: MultipleChoicePipeline) -> None:
    with pytest.raises(InputError, match="leaves no room for its context in rows of 64"):
        choose("a question", ["short", LONG])


def test_temperature_flattens_and_keeps_the_order(choose: MultipleChoicePipeline) -> None:
    cold, warm = choose(QUESTION, temperature=0.5), choose(QUESTION, temperature=5.0)
    assert cold.index == warm.index
    assert cold.score > choose(QUESTION).score > warm.score


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0, expected a whole number of 1 or more"),  # row 62
        ({"format": "FOO"}, "format='FOO', expected one of 'auto', 'swag'"),
        ({"long": "middle"}, "long='middle', expected one of 'head', 'tail', 'window'"),
        ({"temperature": 0}, "temperature=0, expected a number above 0"),
        ({"temperatur": 2.0}, "unknown option 'temperatur'.* Did you mean 'temperature'"),
    ],
)
def test_row_62_options_that_cannot_work_are_named(
    v3: MultipleChoicePipeline, options: dict[str, Any], message: str
) -> None:
    """row 62: batch_size=0, and the options of this task."""
    with pytest.raises(OptionError, match=message):
        v3(QUESTION, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", r"found str 'text', expected \(context, choices\), or a dict"),
        (None, "found None, expected"),
        (("a", ["b"]), "found 1 among the fields"),
        (("a", ["b", None]), r"choices\[1\]: found NoneType, expected text"),
        ({"contexts": "a", "choices": ["a", "b"]}, "no known format"),
    ],
)
def test_bad_inputs_name_what_was_found(
    v3: MultipleChoicePipeline, given: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        v3(given)


def test_row_60_a_bad_question_among_good_ones(v3: MultipleChoicePipeline) -> None:
    """row 60: on_error."""
    questions = [QUESTION, None, ("a", ["b"]), QUESTION]
    found = v3(questions, on_error="return")
    assert [type(record) for record in found] == [Choice, Failed, Failed, Choice]
    assert [record.index for record in found[1:3]] == [1, 2]
    assert len(v3(questions, on_error="skip")) == 2
    with pytest.raises(InputError, match="input 1"):
        v3(questions)


def test_row_80_a_checkpoint_without_such_a_head_is_refused(tmp_path: Path) -> None:
    """row 80: no random head."""
    folder = write_model(tmp_path, "token-classification")
    with pytest.raises(HeadMissingError, match="multiple-choice"):
        MultipleChoicePipeline(folder)


def test_docs_are_annotated_as_the_component_does(v3: MultipleChoicePipeline) -> None:
    import spacy_deberta.components.choice  # noqa: F401 - registers doc._.choices

    doc = spacy.blank("en")(QUESTION[0])
    doc._.choices = QUESTION[1]
    (found,) = v3.annotate([doc])
    assert isinstance(found, Doc)
    assert list(found.cats.values()) == pytest.approx(list(v3(QUESTION).scores))
    assert list(found.cats) == ["0", "1", "2"]


def test_calibration_learns_a_temperature_from_ragged_questions(v3: MultipleChoicePipeline) -> None:
    rng = np.random.default_rng(0)
    words = ["river", "letter", "garden", "winter", "window", "station"]
    examples = []
    for _ in range(60):
        choices = [" ".join(rng.choice(words, 2)) for _ in range(rng.integers(2, 5))]
        examples.append((("a question", choices), int(rng.integers(len(choices)))))
    before = v3(QUESTION)
    report = v3.calibrate(examples)
    assert report.after.nll < report.before.nll
    assert v3.calibration.temperature > 1
    assert v3(QUESTION).index == before.index
    assert v3(QUESTION).score < before.score
    with pytest.raises(InputError, match="gold='z', expected a choice's number or its text"):
        v3.calibrate([(QUESTION, "z")], force=True)


def test_a_saved_pipeline_gives_equal_results(v3: MultipleChoicePipeline, tmp_path: Path) -> None:
    v3.save_pretrained(tmp_path)
    assert MultipleChoicePipeline(tmp_path)(QUESTION) == v3(QUESTION)


def test_compat_gives_dicts(tmp_path: Path) -> None:
    model, tokenizer = build_model("multiple-choice"), tokenizer_of()
    choose = MultipleChoicePipeline(model, tokenizer=tokenizer, hf_compat=True)
    assert choose(QUESTION)["text"] in QUESTION[1]
    assert isinstance(choose([QUESTION])[0], dict)
