"""Text classification: rows 47-62 of the matrix, parity with transformers, windows, calibration."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc

from pipelines.records import Classification, Failed, LabelScore, Regression
from pipelines.text_classification import TextClassificationPipeline
from spacy_deberta.decoding import Calibration
from spacy_deberta.errors import DataError, InputError, OptionError
from tests.pipelines.classifiers import write_classifier
from tests.pipelines.same import same

RECORDED = Path(__file__).parent / "transformers-4.57.6" / "text-classification.json"
LONG = "The old river crossed the quiet village; a letter came from London in 1911. " * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture(scope="module")
def single(folder: Path) -> TextClassificationPipeline:
    return TextClassificationPipeline(write_classifier(folder, "single-v3"))


@pytest.fixture(scope="module")
def multi(folder: Path) -> TextClassificationPipeline:
    return TextClassificationPipeline(write_classifier(folder, "multi"))


def compat(pipe: TextClassificationPipeline, **settings: Any) -> TextClassificationPipeline:
    return TextClassificationPipeline(
        pipe.model, tokenizer=pipe.tokenizer, hf_compat=True, **settings
    )


def again(pipe: TextClassificationPipeline, **settings: Any) -> TextClassificationPipeline:
    return TextClassificationPipeline(pipe.model, tokenizer=pipe.tokenizer, **settings)


def assert_same(found: Any, expected: Any) -> None:
    """The same nesting and keys, numbers within 1e-4."""
    assert type(found) is type(expected), (found, expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected), (found, expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected


def recorded_cases() -> dict[str, list[dict[str, Any]]]:
    by_model: dict[str, list[dict[str, Any]]] = {}
    for case in json.loads(RECORDED.read_text(encoding="utf-8")):
        by_model.setdefault(case["model"], []).append(case)
    return by_model


@pytest.mark.parametrize("name", recorded_cases())
def test_hf_compat_gives_what_transformers_gives(folder: Path, name: str) -> None:
    pipe = TextClassificationPipeline(write_classifier(folder, name))
    by_init: dict[str, Any] = {}
    for case in recorded_cases()[name]:
        key = json.dumps(case["init"])
        if key not in by_init:
            by_init[key] = compat(pipe, **case["init"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if "stream" in case:
                found = list(by_init[key](iter(case["stream"])))
            else:
                found = by_init[key](case["inputs"], **case["options"])
        assert_same(found, case["expected"])
        json.dumps(found)


def test_row_47_a_text_is_a_record_and_a_list_a_list(single: TextClassificationPipeline) -> None:
    one, two = single("a letter"), single(["a letter", "the river"])

    assert isinstance(one, Classification)
    assert same(two[0], one)
    assert len(two) == 2
    assert one.labels == (one.best.label,)
    assert sum(score.score for score in one.scores) == pytest.approx(1)
    assert json.loads(one.to_json())["label"] == one.best.label


def test_row_48_top_k_is_the_same_in_call_and_constructor(
    single: TextClassificationPipeline,
) -> None:
    assert single("a letter", top_k=None) == again(single, top_k=None)("a letter")
    assert single("a letter", top_k=2) == again(single, top_k=2)("a letter")
    assert len(single("a letter", top_k=2).scores) == 2


def test_row_49_return_all_scores_is_for_compat_only(single: TextClassificationPipeline) -> None:
    with pytest.raises(OptionError, match="return_all_scores: only with hf_compat=True"):
        single("a letter", return_all_scores=True)
    with pytest.warns(DeprecationWarning, match="return_all_scores is deprecated"):
        found = compat(single)("a letter", return_all_scores=True)
    assert [one["label"] for one in found[0]] == ["negative", "neutral", "positive"]


def test_row_50_ties_are_in_the_order_of_labels(folder: Path) -> None:
    pipe = TextClassificationPipeline(write_classifier(folder, "single-v3"))
    with torch.no_grad():
        pipe.model.head.classifier.weight.zero_()
        pipe.model.head.classifier.bias.zero_()

    assert [one.label for one in pipe("a").scores] == ["negative", "neutral", "positive"]
    assert [one["label"] for one in compat(pipe)("a", top_k=None)] == list(pipe.labels)


def test_row_51_top_k_is_checked_and_clipped(single: TextClassificationPipeline) -> None:
    for bad in (0, -1):
        with pytest.raises(OptionError, match=f"top_k={bad}, expected a whole number of 1 or more"):
            single("a", top_k=bad)
    assert len(single("a", top_k=99).scores) == 3
    assert compat(single)("a", top_k=0) == []
    assert len(compat(single)("a", top_k=-1)) == 2


def test_row_52_a_dict_is_one_pair(single: TextClassificationPipeline) -> None:
    pair = {"text": "the old river", "text_pair": "a letter"}

    assert single(pair) == single(("the old river", "a letter"))
    assert single(pair) != single("the old river")
    assert isinstance(compat(single)(pair), dict)


def test_row_53_a_tuple_is_a_pair_and_compat_refuses_it(
    single: TextClassificationPipeline,
) -> None:
    pair = ("the old river", "a letter")

    assert same(single([pair, pair]), [single(pair)] * 2)
    for given in (pair, [pair]):
        with pytest.raises(InputError, match="transformers would judge its first text only"):
            compat(single)(given)
    with pytest.raises(InputError, match="expected a text, a pair"):
        single(("a", "b", "c"))


def test_row_54_a_list_of_lists_is_an_error_with_advice(
    single: TextClassificationPipeline,
) -> None:
    for pipe in (single, compat(single)):
        with pytest.raises(
            InputError, match=r'expected a text, a pair \("a", "b"\).*list is a batch'
        ):
            pipe([["a", "b"]])


def test_row_55_the_default_function_is_the_automatic_one(
    single: TextClassificationPipeline,
) -> None:
    assert single("a", function_to_apply="default") == single("a")
    assert single("a", function_to_apply="SIGMOID") != single("a")
    assert single("a", function_to_apply="none").best.label == single("a").best.label
    with pytest.raises(OptionError, match="function_to_apply='tanh', expected one of 'softmax'"):
        single("a", function_to_apply="tanh")


def test_row_56_one_label_is_a_sigmoid_and_a_regression_a_value(folder: Path) -> None:
    lone = TextClassificationPipeline(write_classifier(folder, "lone"))
    value = TextClassificationPipeline(write_classifier(folder, "regression"))

    probability, raw = lone("a letter").best, lone("a letter", function_to_apply="none").best
    record = value("a letter")

    assert probability.label == "LABEL_0"
    assert probability.score == pytest.approx(1 / (1 + np.exp(-raw.score)))
    assert isinstance(record, Regression)
    assert record.to_dict() == {"label": "similarity", "score": record.value}
    assert compat(value)("a letter")[0]["score"] == pytest.approx(record.value)


def test_row_57_several_labels_hold_above_their_threshold(
    multi: TextClassificationPipeline,
) -> None:
    record = multi("a letter")
    scores = {one.label: one.score for one in record.scores}
    low, high = min(scores.values()), max(scores.values())

    assert set(record.labels) == {label for label, score in scores.items() if score >= 0.5}
    assert set(multi("a letter", threshold=low).labels) == set(scores)
    by_label = dict.fromkeys(scores, 1.0) | {record.scores[-1].label: 0.0}
    assert multi("a letter", threshold=by_label).labels == (record.scores[-1].label,)
    assert multi("a letter", threshold=(high + 1) / 2).labels == ()
    calibrated = again(multi, calibration=Calibration(thresholds=by_label))
    assert calibrated("a letter").labels == (record.scores[-1].label,)
    with pytest.raises(OptionError, match=r"threshold: \['x'\] are no labels"):
        multi("a", threshold={"x": 0.5})


def test_row_58_long_texts_are_read_in_windows(single: TextClassificationPipeline) -> None:
    core = single.tokenizer.core
    pieces = core.encode(LONG).ids.tolist()
    starts = range(0, len(pieces) - 62 + 48, 48)
    logits, weights, seen = [], [], 0
    for start in starts:
        window = pieces[start : start + 62]
        ids = torch.tensor([[core.cls_id, *window, core.sep_id]])
        with torch.no_grad():
            logits.append(single.model(ids).logits[0].numpy())
        weights.append(start + len(window) - seen)
        seen = start + len(window)
    assert seen == len(pieces)
    merged = np.array(weights) @ np.stack(logits) / seen

    record = single(LONG, function_to_apply="none")

    assert record.n_windows == len(logits) > 2
    assert not record.truncated
    found = {one.label: one.score for one in record.scores}
    assert [found[label] for label in single.labels] == pytest.approx(merged.tolist(), abs=1e-4)
    cut = single(LONG, long="truncate", function_to_apply="none")
    assert (cut.n_windows, cut.truncated) == (1, True)
    assert {one.label: one.score for one in cut.scores} == pytest.approx(
        dict(zip(single.labels, logits[0].tolist(), strict=True)), abs=1e-4
    )
    with pytest.raises(InputError, match=r"longer than max_length=64 pieces\. Use long='window'"):
        single(LONG, long="error")


def test_the_longer_text_of_a_pair_is_read_in_windows(single: TextClassificationPipeline) -> None:
    record = single((LONG, "a letter"))

    assert record.n_windows > 2
    assert not record.truncated
    assert single((LONG, LONG)).truncated


def test_the_best_window_counts_where_several_labels_may_hold(
    multi: TextClassificationPipeline,
) -> None:
    texts = [LONG[:600], "Marie Curie moved to Paris; " * 20]
    whole = multi(" ".join(texts), function_to_apply="none", overlap=0.0)
    core = multi.tokenizer.core
    pieces = core.encode(" ".join(texts)).ids.tolist()
    rows = [pieces[start : start + 62] for start in range(0, len(pieces), 62)]
    with torch.no_grad():
        logits = [multi.model(torch.tensor([[core.cls_id, *r, core.sep_id]])).logits for r in rows]

    expected = torch.cat(logits).max(0).values.tolist()
    found = {one.label: one.score for one in whole.scores}
    assert [found[label] for label in multi.labels] == pytest.approx(expected, abs=1e-4)


def test_row_59_iterators_and_columns_are_batches_and_sets_are_not(
    single: TextClassificationPipeline,
) -> None:
    texts = ["a letter", "the river"]
    expected = single(texts)

    for given in (iter(texts), map(str, texts), (text for text in texts)):
        found = single(given)
        assert isinstance(found, Iterator)
        assert list(found) == expected
    assert single(np.array(texts)) == expected
    with pytest.raises(InputError, match="A set has no order; give a list"):
        single(set(texts))


def test_row_60_an_error_names_its_input_and_loses_nothing(
    single: TextClassificationPipeline,
) -> None:
    texts = ["a letter", None, "the river"]
    good = single(["a letter", "the river"])

    with pytest.raises(InputError, match=r"input 1 .*found None, expected a text") as caught:
        single(texts)
    assert same(list(caught.value.partial), good[:1])
    assert same(single(texts, on_error="skip"), good)
    found = single(texts, on_error="return")
    assert same([found[0], found[2]], good)
    assert isinstance(found[1], Failed)
    assert found[1].index == 1


def test_row_61_a_long_text_costs_short_ones_no_padding(
    single: TextClassificationPipeline,
) -> None:
    pipe = again(single, batch_pieces=256, max_length=512)
    computed: list[int] = []
    hook = pipe.model.encoder.register_forward_pre_hook(
        lambda _, given: computed.append(len(given[0]))
    )

    pipe([*["a letter"] * 31, LONG])

    hook.remove()
    core = pipe.tokenizer.core
    useful = 31 * (len(core.encode("a letter")) + 2) + len(core.encode(LONG)) + 2
    assert sum(computed) == useful
    assert len(computed) > 1


def test_row_62_a_batch_size_of_0_is_an_error(single: TextClassificationPipeline) -> None:
    with pytest.raises(OptionError, match="batch_size=0, expected a whole number of 1 or more"):
        single(["a"], batch_size=0)


def test_empty_texts_have_scores_and_special_pieces_are_text(
    single: TextClassificationPipeline,
) -> None:
    assert sum(one.score for one in single("").scores) == pytest.approx(1)
    assert single("a [SEP] b") != compat(single)("a [SEP] b", top_k=None)
    assert single([]) == []


def test_neighbours_change_nothing(single: TextClassificationPipeline) -> None:
    texts = ["a letter", LONG, "", "the old river crossed", "London can't."]

    alone = [single(text) for text in texts]

    for one, other in zip(alone, single(texts), strict=True):
        assert one.labels == other.labels
        for a, b in zip(one.scores, other.scores, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)


def test_docs_get_cats(single: TextClassificationPipeline, folder: Path) -> None:
    if not Doc.has_extension("pair"):
        Doc.set_extension("pair", default=None)
    nlp = spacy.blank("en")
    docs = [nlp("the old river"), nlp("the old river")]
    docs[1]._.pair = "a letter"

    done = list(single.annotate(docs))

    assert done == docs
    expected = [single("the old river"), single(("the old river", "a letter"))]
    for doc, record in zip(docs, expected, strict=True):
        assert same(doc.cats, {one.label: one.score for one in record.scores})
    value = TextClassificationPipeline(write_classifier(folder, "regression"))
    (doc,) = value.annotate([nlp("a letter")])
    assert doc.cats == {"similarity": value("a letter").value}


def test_a_text_pair_for_all_inputs(single: TextClassificationPipeline) -> None:
    pairs = [("a", "c"), ("b", "c")]
    assert same(single(["a", "b"], text_pair="c"), single(pairs))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text_pair": "a"}, r"a dict with the keys \['text_pair'\]"),
        ({"text": "a", "b": "c"}, r"a dict with the keys \['text', 'b'\]"),
        ({"text": 3}, "text: found int 3, expected a text"),
        (("a", None), "a text of the pair: found None"),
        (3, "found int 3, expected a text, a pair"),
        (b"a", "Decode the bytes first"),
    ],
)
def test_inputs_that_are_none_are_errors(
    single: TextClassificationPipeline, given: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        single(given)


def test_calibration_makes_scores_softer_and_is_kept(
    single: TextClassificationPipeline, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    pipe = again(single)
    words = ["old", "river", "quiet", "village", "letter", "London", "winter", "garden"]
    texts = [" ".join(random.choice(words, 4)) for _ in range(80)]
    labels = [str(random.choice(pipe.labels)) for _ in texts]

    report = pipe.calibrate(zip(texts, labels, strict=True))

    assert report.after.nll < report.before.nll
    assert report.calibration.temperature > 1
    assert pipe("a letter").best.score < single("a letter").best.score
    pipe.save_pretrained(tmp_path)
    assert TextClassificationPipeline(tmp_path)(texts) == pipe(texts)
    with pytest.raises(DataError, match=r"gold answer 'good': expected one label of \['negative'"):
        pipe.calibrate([("a", "good")] * 60)


def test_thresholds_are_calibrated(multi: TextClassificationPipeline) -> None:
    pipe = again(multi)
    texts = [f"{a} {b}" for a in ("a letter", "London", "river") for b in "abcdefghijklmnopqrst"]
    gold = [[label for label in pipe.labels[:2] if label in pipe(text).labels] for text in texts]

    pipe.calibrate(zip(texts, gold, strict=True))

    assert set(pipe.calibration.thresholds) <= set(pipe.labels)
    assert all(0 < value < 1 for value in pipe.calibration.thresholds.values())


def test_a_regression_cannot_be_calibrated(folder: Path) -> None:
    pipe = TextClassificationPipeline(write_classifier(folder, "regression"))
    with pytest.raises(OptionError, match="a regression has no probabilities"):
        pipe.calibrate([("a", 1.0)] * 60)


def test_records_are_plain_numbers(single: TextClassificationPipeline) -> None:
    record = single("a")
    assert type(record.best.score) is float
    assert record.best == LabelScore(record.best.label, record.best.score)
