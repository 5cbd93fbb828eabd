"""Zero-shot classification: rows 63-67 of the matrix, parity with transformers, templates."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from pipelines.records import Failed, ZeroShot
from pipelines.zero_shot import ZeroShotClassificationPipeline
from spacy_deberta.errors import InputError, OptionError
from tests.pipelines.classifiers import write_classifier
from tests.pipelines.test_text_classification import assert_same

RECORDED = Path(__file__).parent / "transformers-4.57.6" / "zero-shot-classification.json"
LONG = "The old river crossed the quiet village; a letter came from London in 1911. " * 8
TEXT = "Marie wrote a letter."
LABELS = ["art", "old rivers", "law"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nli")


@pytest.fixture(scope="module")
def nli(folder: Path) -> ZeroShotClassificationPipeline:
    return ZeroShotClassificationPipeline(write_classifier(folder, "nli"))


def compat(pipe: ZeroShotClassificationPipeline) -> ZeroShotClassificationPipeline:
    return ZeroShotClassificationPipeline(pipe.model, tokenizer=pipe.tokenizer, hf_compat=True)


def logits_of(pipe: ZeroShotClassificationPipeline, *pair: str) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found = pipe.model(**pipe.tokenizer(*pair, truncation=False, return_tensors="pt"))
    return np.asarray(found.logits[0].numpy(), dtype=np.float64)


def softmax(values: Any) -> Any:
    powers = np.exp(np.asarray(values))
    return powers / powers.sum()


def scores_of(record: Any) -> dict[str, float]:
    return {one.label: one.score for one in record.scores}


def recorded_cases() -> dict[str, list[dict[str, Any]]]:
    by_model: dict[str, list[dict[str, Any]]] = {}
    for case in json.loads(RECORDED.read_text(encoding="utf-8")):
        by_model.setdefault(case["model"], []).append(case)
    return by_model


@pytest.mark.parametrize("name", recorded_cases())
def test_hf_compat_gives_what_transformers_gives(folder: Path, name: str) -> None:
    pipe = ZeroShotClassificationPipeline(write_classifier(folder, name), hf_compat=True)
    for case in recorded_cases()[name]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no label of")
            if "stream" in case:
                found = list(pipe(iter(case["stream"]), **case["options"]))
            else:
                found = pipe(case["inputs"], **case["options"])
        assert_same(found, case["expected"])


def test_scores_follow_their_formula(nli: ZeroShotClassificationPipeline) -> None:
    record = nli(TEXT, LABELS)
    logits = [logits_of(nli, TEXT, f"This example is {label}.")[2] for label in LABELS]

    assert isinstance(record, ZeroShot)
    assert scores_of(record) == pytest.approx(
        dict(zip(LABELS, softmax(logits), strict=True)), abs=1e-5
    )
    assert [one.score for one in record.scores] == sorted(scores_of(record).values(), reverse=True)
    assert record.labels == (record.scores[0].label,)
    assert nli([TEXT], LABELS) == [record]
    json.dumps(record.to_dict())


def test_row_63_labels_as_a_list_or_with_commas_each_once(
    nli: ZeroShotClassificationPipeline,
) -> None:
    assert nli(TEXT, "art, old rivers,, law ") == nli(TEXT, candidate_labels=LABELS)
    with pytest.warns(UserWarning, match=r"candidate_labels: \['art'\] given twice, used once"):
        assert nli(TEXT, ["art", "law", "art"]) == nli(TEXT, ["art", "law"])
    assert len(compat(nli)(TEXT, ["art", "law", "art"])["labels"]) == 3


def test_row_64_ties_are_in_the_order_of_the_input(
    folder: Path, nli: ZeroShotClassificationPipeline
) -> None:
    pipe = ZeroShotClassificationPipeline(write_classifier(folder, "nli"))
    with torch.no_grad():
        pipe.model.head.classifier.weight.zero_()

    assert list(scores_of(pipe(TEXT, ["x", "y", "z"]))) == ["x", "y", "z"]
    assert compat(pipe)(TEXT, ["x", "y", "z"])["labels"] == ["z", "y", "x"]


def test_row_65_one_label_is_scored_against_contradiction(
    nli: ZeroShotClassificationPipeline,
) -> None:
    logits = logits_of(nli, TEXT, "This example is art.")

    expected = softmax(logits[[0, 2]])[1]
    assert nli(TEXT, ["art"]).scores[0].score == pytest.approx(expected, abs=1e-5)


def test_row_66_labels_of_the_model_are_found_by_name(folder: Path) -> None:
    pipe = ZeroShotClassificationPipeline(write_classifier(folder, "nli-neutral-first"))
    logits = logits_of(pipe, TEXT, "This example is art.")

    found = scores_of(pipe(TEXT, ["art", "law"], multi_label=True))["art"]
    theirs = dict(
        zip(
            *[
                compat(pipe)(TEXT, ["art", "law"], multi_label=True)[key]
                for key in ("labels", "scores")
            ],
            strict=True,
        )
    )["art"]

    assert found == pytest.approx(softmax(logits[[2, 1]])[1], abs=1e-5)
    assert theirs == pytest.approx(softmax(logits[[0, 1]])[1], abs=1e-5)
    assert abs(found - theirs) > 0.01
    unnamed = ZeroShotClassificationPipeline(write_classifier(folder, "nli-unnamed"))
    with pytest.raises(OptionError, match="entailment_label=None: no such label among"):
        unnamed(TEXT, LABELS)
    named = unnamed(TEXT, LABELS, entailment_label="LABEL_2")
    assert len(named.scores) == 3
    with pytest.raises(OptionError, match="contradiction_label=None"):
        unnamed([TEXT], LABELS, entailment_label="LABEL_2", multi_label=True)
    unnamed(
        TEXT, LABELS, entailment_label="LABEL_2", contradiction_label="LABEL_0", multi_label=True
    )


def test_row_67_huge_logits_have_finite_scores(
    folder: Path, nli: ZeroShotClassificationPipeline
) -> None:
    pipe = ZeroShotClassificationPipeline(write_classifier(folder, "nli"))
    with torch.no_grad():
        pipe.model.head.classifier.weight.mul_(1e4)

    for multi_label in (False, True):
        scores = scores_of(pipe(TEXT, LABELS, multi_label=multi_label)).values()
        theirs = compat(pipe)(TEXT, LABELS, multi_label=multi_label)["scores"]
        assert np.isfinite([*scores, *theirs]).all()


def test_two_labels_are_each_others_opposite(folder: Path) -> None:
    pipe = ZeroShotClassificationPipeline(write_classifier(folder, "nli-binary"))
    expected = softmax(logits_of(pipe, TEXT, "This example is art."))[0]

    assert pipe(TEXT, ["art"]).scores[0].score == pytest.approx(expected, abs=1e-5)


def test_all_rows_of_all_texts_share_batches(
    nli: ZeroShotClassificationPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = nli.forward
    monkeypatch.setattr(
        nli, "forward", lambda rows, options: sizes.append(len(rows)) or forward(rows, options)
    )

    nli([TEXT, "a letter"], LABELS)

    assert sizes == [6]


def test_templates_by_label_and_several(nli: ZeroShotClassificationPipeline) -> None:
    one, two = "It is {}.", "About {label}, or so."
    filled = {label: two.format(label=label) for label in LABELS}
    logits = np.array(
        [[logits_of(nli, TEXT, t.format(x, label=x))[2] for t in (one, two)] for x in LABELS]
    )

    assert nli(TEXT, LABELS, hypothesis_template=filled) == nli(
        TEXT, LABELS, hypothesis_template=two
    )
    found = scores_of(nli(TEXT, LABELS, hypothesis_template=[one, two]))
    logs = logits - np.log(np.exp(logits).sum(0))
    expected = softmax(logs.mean(1))
    assert found == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-5)


@pytest.mark.parametrize("label", ["{}", "{x}", "a {} b", "%s", "}{"])
def test_labels_may_look_like_places_for_labels(
    nli: ZeroShotClassificationPipeline, label: str
) -> None:
    found = scores_of(nli(TEXT, [label, "rivers"]))
    written = scores_of(
        nli(
            TEXT,
            ["a", "rivers"],
            hypothesis_template={
                "a": f"This example is {label}.",
                "rivers": "This example is rivers.",
            },
        )
    )
    assert list(found.values()) == pytest.approx([written["a" if n == label else n] for n in found])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no place", "has no '{}' where the label stands"),
        ("{} is {}", "expected '{}' where the label stands"),
        ("{x}", "expected '{}' where the label stands"),
        ({"art": "a"}, "has no sentence for the label 'old rivers'"),
        ([], "expected one or more sentences"),
        (None, "expected a list of texts"),
        (b"{}", "expected a list of texts"),
        ({"art": 1}, "expected a list of texts"),
    ],
)
def test_templates_that_cannot_be_are_errors(
    nli: ZeroShotClassificationPipeline, template: Any, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        nli(TEXT, LABELS, hypothesis_template=template)


@pytest.mark.parametrize("labels", [None, [], "", " , ", {"a", "b"}, [1], 3])
def test_labels_that_cannot_be_are_errors(nli: ZeroShotClassificationPipeline, labels: Any) -> None:
    with pytest.raises(OptionError, match=r"candidate_labels=.*expected a list of one or more"):
        nli(TEXT, candidate_labels=labels)


@pytest.mark.parametrize("name", ["entailment_label", "contradiction_label"])
def test_labels_of_the_model_are_names(nli: ZeroShotClassificationPipeline, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}=2, expected the name of a label"):
        nli(TEXT, LABELS, **{name: 2})


def test_arguments_are_checked(nli: ZeroShotClassificationPipeline) -> None:
    assert nli(sequences=TEXT, candidate_labels=LABELS) == nli(TEXT, LABELS)
    with pytest.raises(OptionError, match="found 3 arguments, expected the texts and"):
        nli(TEXT, LABELS, "x")
    with pytest.raises(InputError, match="found an empty text"):
        nli("", LABELS)
    with pytest.raises(OptionError, match="unknown option 'truncation'"):
        nli(TEXT, LABELS, truncation=False)


def test_a_bad_text_is_reported_in_its_place(nli: ZeroShotClassificationPipeline) -> None:
    found = nli([TEXT, "", TEXT], LABELS, on_error="return")

    assert isinstance(found[1], Failed)
    assert found[0] == found[2]


def test_labels_that_hold_together_have_a_threshold(nli: ZeroShotClassificationPipeline) -> None:
    record = nli(TEXT, LABELS, multi_label=True)
    scores = scores_of(record)
    middle = sorted(scores.values())[1]

    assert set(record.labels) == {label for label, score in scores.items() if score >= 0.5}
    chosen = nli(TEXT, LABELS, multi_label=True, threshold=middle).labels
    assert set(chosen) == {label for label, score in scores.items() if score >= middle}


def test_long_texts_are_cut_at_the_same_places_for_all_labels(
    nli: ZeroShotClassificationPipeline,
) -> None:
    labels = ["a", "the old river of the quiet village"]
    options = nli.options.override({"candidate_labels": labels})
    rows = nli.encode(nli.prepare(LONG, options), options)
    sep = nli.tokenizer.core.sep_id

    premises = [[], []]
    for row in rows:
        assert len(row.ids) <= nli.max_length
        premises[row.extra.label].append(list(row.ids[: list(row.ids).index(sep)]))
    assert premises[0] == premises[1]
    assert len(premises[0]) > 2
    assert sum(row.extra.weight for row in rows if not row.extra.label) == len(
        nli.tokenizer.core.encode(LONG)
    )
    assert sum(scores_of(nli(LONG, labels)).values()) == pytest.approx(1)


def test_the_best_window_counts_where_labels_may_hold_together(
    nli: ZeroShotClassificationPipeline,
) -> None:
    options = nli.options.override({"candidate_labels": ["art"]})
    rows = nli.encode(nli.prepare(LONG, options), options)
    results = np.stack(nli.run_batches(rows, options))

    found = nli(LONG, ["art"], multi_label=True).scores[0].score

    ahead = (results[:, 2] - results[:, 0]).max()
    assert found == pytest.approx(1 / (1 + np.exp(-ahead)), abs=1e-5)


def test_priors_are_subtracted(nli: ZeroShotClassificationPipeline) -> None:
    pairs = [f"This example is {label}." for label in LABELS]
    logits = [logits_of(nli, TEXT, pair)[2] - logits_of(nli, "", pair)[2] for pair in pairs]

    found = scores_of(nli(TEXT, LABELS, prior_correction=True))

    assert found == pytest.approx(dict(zip(LABELS, softmax(logits), strict=True)), abs=1e-4)


def test_docs_get_cats(nli: ZeroShotClassificationPipeline) -> None:
    (doc,) = nli.annotate([spacy.blank("en")(TEXT)], candidate_labels=LABELS)
    assert doc.cats == scores_of(nli(TEXT, LABELS))


def test_calibration_reads_candidates(nli: ZeroShotClassificationPipeline) -> None:
    pipe = ZeroShotClassificationPipeline(nli.model, tokenizer=nli.tokenizer)
    texts = [f"a letter {word}" for word in "abcdefghij"] * 6
    gold = [LABELS[number % 3] for number in range(len(texts))]

    report = pipe.calibrate(zip(texts, gold, strict=True), candidate_labels=LABELS)

    assert report.after.nll <= report.before.nll
    assert sum(scores_of(pipe(TEXT, LABELS)).values()) == pytest.approx(1)
