"""Token classification: numbers of transformers 4.57.6 under hf_compat, and rows 19 to 46."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc

from pipelines.batching import Row
from pipelines.ner import NerPipeline
from pipelines.records import Entities
from spacy_deberta.errors import HeadMissingError, InputError, OptionError
from tests.pipelines.models import build_model, tokenizer_of, write_model

RECORDED = Path(__file__).parent / "transformers-4.57.6" / "token-classification.json"
CASES = json.loads(RECORDED.read_text(encoding="utf-8"))["cases"]
TEXT = "Angela Merkel lives in Berlin."
FAMILIES = ("v3", "v1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ner")
    return {f: write_model(folder / f, "token-classification", f) for f in FAMILIES}


@pytest.fixture(scope="module")
def compat(folders: dict[str, Path]) -> dict[str, NerPipeline]:
    return {f: NerPipeline(folders[f], hf_compat=True) for f in FAMILIES}


@pytest.fixture(scope="module")
def ours(folders: dict[str, Path]) -> dict[str, NerPipeline]:
    return {f: NerPipeline(folders[f]) for f in FAMILIES}


class Scripted(NerPipeline):
    """Says of each piece what `tag` says of the text it covers, with certainty."""

    tag: Callable[[str], str]

    def encode(self, item: Any, options: Any) -> list[Row]:
        rows = super().encode(item, options)
        windows = self._windows(len(item.pieces), options)
        found = []
        for row, first, last in zip(rows, windows.starts, windows.ends, strict=True):
            spans = zip(item.pieces.starts[first:last], item.pieces.ends[first:last], strict=True)
            words = ["", *(item.text[start:end] for start, end in spans), ""]
            found.append(Row(row.ids, extra=[self.tags.index(self.tag(word)) for word in words]))
        return found

    def forward(self, rows: Sequence[Row], options: Any) -> list[Any]:
        return [10 * np.eye(len(self.tags), dtype="f")[row.extra] for row in rows]


def scripted(
    tag: Callable[[str], str], labels: Sequence[str] = (), family: Any = "v3", **options: Any
) -> Scripted:
    names = dict(enumerate(labels or ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")))
    model = build_model("token-classification", family, id2label=names, num_labels=len(names))
    pipe = Scripted(model, tokenizer=tokenizer_of(family), **options)
    pipe.tag = tag
    return pipe


def always(label: str) -> Callable[[str], str]:
    return lambda word: label


def spans(record: Entities) -> list[tuple[str, int, int]]:
    for entity in record:
        assert record.text[entity.start : entity.end] == entity.text
    return [(entity.text, entity.start, entity.end) for entity in record]


def check(found: Any, expected: Any) -> None:
    """Equal but for 1e-4 in numbers."""
    assert type(found) is type(expected)
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check(one, other)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            check(found[key], value)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected


@pytest.mark.filterwarnings("ignore:.*pieces are cut off")
@pytest.mark.parametrize("number", range(len(CASES)))
def test_compat_equals_transformers(compat: dict[str, NerPipeline], number: int) -> None:
    case = CASES[number]
    given = tuple(case["input"]) if case["input"] == ["a", "b"] else case["input"]
    pipe = compat[case["family"]]
    if "error" in case:
        with pytest.raises((InputError, OptionError)):
            pipe(given, **case["options"])
    else:
        check(pipe(given, **case["options"]), case["result"])


def test_row_19_offsets_of_pieces_are_trimmed(ours: dict[str, NerPipeline]) -> None:
    for pipe in ours.values():
        pieces = pipe(TEXT, aggregation="none", ignore_labels=[])
        assert all(TEXT[p.start : p.end].strip() == TEXT[p.start : p.end] != "" for p in pieces)
        assert 7 in {piece.start for piece in pieces}


def test_row_20_scores_are_python_floats(ours: dict[str, NerPipeline]) -> None:
    found = ours["v3"](TEXT, aggregation="simple")
    assert {type(entity.score) for entity in found} == {float}
    assert json.loads(found.to_json())[0].keys() == {
        "entity_group",
        "score",
        "word",
        "start",
        "end",
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["first", "average", "logmean", "max", "simple"])
def test_row_21_text_is_a_slice(family: str, how: str) -> None:
    pipe = scripted(lambda w: "B-PER" if w.startswith("A") else "I-PER", family=family)
    assert spans(pipe("Angela Merkel lives", aggregation=how)) == [("Angela Merkel lives", 0, 19)]


def test_row_22_punctuation_is_split_off() -> None:
    pipe = scripted(lambda word: "B-PER" if word[:1].isupper() and word != "Hi" else "O")
    found = spans(pipe("Hi (Angela), Merkel. x"))
    assert found == [("Angela", 4, 10), ("Merkel", 13, 19)]


def test_row_23_any_whitespace_separates_words() -> None:
    found = spans(scripted(always("B-PER"))("Angela\nMerkel\tlives"))
    assert found == [("Angela", 0, 6), ("Merkel", 7, 13), ("lives", 14, 19)]


def test_row_24_han_is_split_by_character_or_by_the_user() -> None:
    pipe = scripted(always("B-PER"), family="v1")
    assert spans(pipe("我在柏林")) == [("我", 0, 1), ("在", 1, 2), ("柏", 2, 3), ("林", 3, 4)]
    users = [("我", 0, 1), ("在", 1, 2), ("柏林", 2, 4)]
    found = pipe("我在柏林", words=lambda text: [span[1:] for span in users])
    assert spans(found) == users
    with pytest.raises(InputError, match="out of order"):
        pipe("我在柏林", words=lambda text: [(2, 1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_row_25_offsets_hold_no_space(family: str) -> None:
    found = spans(scripted(always("B-PER"), family=family)("a  b\n c"))
    assert found == [("a", 0, 1), ("b", 3, 4), ("c", 6, 7)]


@pytest.mark.parametrize("family", FAMILIES)
def test_row_26_normalized_characters_are_whole(family: str) -> None:
    text = "Zürich 😀 ﬁne ½x"
    found = spans(scripted(always("B-PER"), family=family)(text))
    assert [word for word, _, _ in found] == ["Zürich", "😀", "ﬁne", "½x"]


def test_row_27_the_bytes_of_a_character_are_one_unit() -> None:
    assert spans(scripted(always("B-PER"), family="v1")("Zürich 😀")) == [
        ("Zürich", 0, 6),
        ("😀", 7, 8),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_row_28_marks_belong_to_their_base(family: str) -> None:
    found = spans(scripted(always("B-PER"), family=family)("un cafe\u0301"))
    assert found == [("un", 0, 2), ("cafe\u0301", 3, 8)]


def test_row_29_empty_texts_have_no_entities(ours: dict[str, NerPipeline]) -> None:
    pipe = ours["v3"]
    assert [len(pipe(text)) for text in ("", "   ")] == [0, 0]
    assert pipe("").to_dict() == []
    assert len(pipe(["", "a"])) == 2


def test_row_30_no_inputs_give_no_records(ours: dict[str, NerPipeline]) -> None:
    assert ours["v3"]([]) == []
    with pytest.raises(InputError, match="found None, expected a text"):
        ours["v3"](None)


def test_row_31_a_list_of_one_is_a_list(ours: dict[str, NerPipeline]) -> None:
    assert ours["v3"]([TEXT]) == [ours["v3"](TEXT)]


def test_row_32_tuples_are_refused_and_token_lists_asked_for(ours: dict[str, NerPipeline]) -> None:
    with pytest.raises(InputError, match="A tuple is one pair"):
        ours["v3"](("a", "b"))
    with pytest.raises(InputError, match="its items cannot be lists"):
        ours["v3"]([["a", "b"]])
    records = ours["v3"]([["Angela", "Merkel"], ["x"]], pretokenized=True)
    assert [record.text for record in records] == ["Angela Merkel", "x"]
    with pytest.raises(InputError, match="a list of words"):
        ours["v3"]("Angela", pretokenized=True)


def test_row_33_words_give_one_record_with_their_numbers() -> None:
    pipe = scripted(lambda word: "B-PER" if word[:1] == "A" else "I-PER")
    (found,) = pipe(["x", "Angela", "Merkel"], is_split_into_words=True, ignore_labels=["O"])[-1:]
    assert (found.start, found.end) == (2, 15)
    assert (found.word_start, found.word_end) == (1, 3)


def test_row_34_words_work_on_v1_and_compat_refuses(compat: dict[str, NerPipeline]) -> None:
    found = scripted(always("B-PER"), family="v1")(["Angela", "Merkel"], pretokenized=True)
    assert spans(found) == [("Angela", 0, 6), ("Merkel", 7, 13)]
    with pytest.raises(OptionError, match="add_prefix_space=True"):
        compat["v1"](["Angela"], is_split_into_words=True)


def test_row_35_empty_words_keep_their_number_and_spaces_are_inside() -> None:
    found = scripted(always("B-PER"))(["New York", "", "x"], pretokenized=True)
    assert spans(found) == [("New York", 0, 8), ("x", 10, 11)]
    assert [entity.word_start for entity in found] == [0, 2]


def test_row_36_long_texts_are_read_in_full_and_compat_warns(
    compat: dict[str, NerPipeline],
) -> None:
    text = "Marie Curie moved to Paris. " * 40
    pipe = scripted(lambda word: "B-LOC" if word == "Paris" else "O")
    found = pipe(text)
    assert len(found) == 40
    assert found[-1].end == len(text) - 2
    assert found.n_windows > 3
    with pytest.warns(UserWarning, match="pieces are cut off"):
        cut = compat["v3"](text, ignore_labels=[])
    assert cut[-1]["end"] < 300


def test_row_37_an_entity_over_many_windows_is_one() -> None:
    text = "Marie " + "Curie moved to Paris " * 40
    pipe = scripted(lambda word: "B-PER" if word == "Marie" else "I-PER")
    for stride in (0, 16):
        assert spans(pipe(text, stride=stride)) == [(text.strip(), 0, len(text) - 1)]


def test_windows_change_no_entity_where_emissions_do_not_depend_on_them() -> None:
    text = "Marie Curie moved to Paris and London . " * 20
    tags = {"Marie": "B-PER", "Curie": "I-PER", "Paris": "B-LOC", "London": "I-LOC"}
    expected = scripted(lambda word: tags.get(word, "O"), max_length=512)(text)
    for length, stride in ((16, 5), (33, 0), (64, None)):
        pipe = scripted(lambda word: tags.get(word, "O"), max_length=length)
        found = pipe(text, stride=stride)
        assert spans(found) == spans(expected)
        assert [e.score for e in found] == pytest.approx([e.score for e in expected])


def test_row_38_pieces_of_a_whole_long_text(ours: dict[str, NerPipeline]) -> None:
    text = "Marie Curie moved to Paris. " * 40
    pieces = ours["v3"](text, aggregation="none", stride=16, ignore_labels=[])
    assert pieces[-1].end == len(text) - 1
    assert [piece.index for piece in pieces] == list(range(1, len(pieces) + 1))


def test_row_39_too_large_a_stride_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(OptionError, match=r"room for 62 beside .* expected 0 to 61"):
        NerPipeline(folders["v3"], stride=63)
    NerPipeline(folders["v3"], stride=61)


def test_row_40_windows_without_a_declared_length() -> None:
    model = build_model("token-classification", "v3")
    pipe = NerPipeline(model, tokenizer=tokenizer_of("v3", model_max_length=int(1e30)))
    assert pipe.max_length == 512
    assert pipe("Marie Curie " * 600).n_windows > 1


def test_row_41_an_inside_tag_behind_nothing_is_repaired_or_kept() -> None:
    pipe = scripted(lambda word: "I-PER" if word[:1].isupper() else "O")
    assert spans(pipe("the Merkel", decode="greedy")) == [("Merkel", 4, 10)]
    forward = pipe.forward

    def doubtful(rows: Sequence[Row], options: Any) -> list[Any]:
        scores = forward(rows, options)
        for row in scores:
            row[:, 0] += 8
        return scores

    pipe.forward = doubtful  # O nearly as likely as I-PER: nothing legal is better than O
    assert spans(pipe("the Merkel")) == []
    assert spans(pipe("the Merkel", decode="greedy")) == [("Merkel", 4, 10)]


def test_row_42_the_scheme_is_recognized_from_the_labels() -> None:
    labels = ["O", "B-PER", "I-PER", "L-PER", "U-LOC", "date-time"]
    tags = {"A": "B-PER", "B": "I-PER", "C": "L-PER", "P": "U-LOC", "M": "date-time"}
    pipe = scripted(lambda word: tags.get(word[:1], "O"), labels)
    found = pipe("A B C x P P x M M")
    assert [(e.text, e.label) for e in found] == [
        ("A B C", "PER"),
        ("P", "LOC"),
        ("P", "LOC"),
        ("M M", "date-time"),
    ]


@pytest.mark.parametrize("labels", [["PER"], ["B-PER"]])
@pytest.mark.parametrize("how", ["none", "simple", "first"])
def test_row_43_types_are_ignored_by_their_bare_name(labels: list[str], how: str) -> None:
    pipe = scripted(lambda word: "B-PER" if word == "Marie" else "B-LOC")
    found = pipe("Marie Paris", aggregation=how, ignore_labels=labels)
    assert {entity.label.split("-")[-1] for entity in found} == {"LOC"}


def test_row_44_batches_change_nothing(ours: dict[str, NerPipeline]) -> None:
    texts = [TEXT, "Hi", "Marie Curie moved to Paris. " * 20, "", "x y z"]
    for pipe in ours.values():
        for together, text in zip(pipe(texts), texts, strict=True):
            alone = pipe(text)
            assert spans(together) == spans(alone)
            assert [e.score for e in together] == pytest.approx([e.score for e in alone], abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_row_45_special_pieces_typed_in_a_text_are_text(
    ours: dict[str, NerPipeline], family: str
) -> None:
    def is_one(**options: Any) -> bool:
        pieces = ours[family]("a [MASK] b", aggregation="none", ignore_labels=[], **options)
        return "[MASK]" in [piece.piece for piece in pieces]

    assert not is_one()
    assert is_one(allow_special=True)


def test_row_46_a_wrong_strategy_names_the_right_ones(ours: dict[str, NerPipeline]) -> None:
    with pytest.raises(OptionError, match="'none', 'simple', 'first', 'average', 'logmean', 'max'"):
        ours["v3"](TEXT, aggregation_strategy="FOO")


def test_row_80_a_model_without_the_head_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "text-classification")
    with pytest.raises(HeadMissingError, match="token-classification"):
        NerPipeline(tmp_path)


def test_scores_are_posteriors_and_thresholds_cut(ours: dict[str, NerPipeline]) -> None:
    pipe = ours["v3"]
    found = pipe(TEXT)
    assert all(0 < entity.score <= 1 for entity in found)
    least = min(entity.score for entity in found)
    kept = pipe(TEXT, threshold=least + 1e-9)
    assert [e.text for e in kept] == [e.text for e in found if e.score > least]
    nested = pipe(TEXT, flat=False, threshold=0.05)
    assert {(e.start, e.end, e.label) for e in found if e.score > 0.05} <= {
        (e.start, e.end, e.label) for e in nested
    }


def test_mean_scores_are_the_words_probabilities() -> None:
    pipe = scripted(lambda word: "B-PER" if word == "Marie" else "I-PER")
    (entity,) = pipe("Marie Curie", score="mean")
    assert entity.score == pytest.approx(np.exp(10) / (np.exp(10) + 4))


def test_docs_give_their_tokens_and_take_the_entities() -> None:
    nlp = spacy.blank("en")
    pipe = scripted(lambda word: {"Marie": "B-PER", "Curie": "I-PER"}.get(word, "O"))
    docs = [nlp("Marie  Curie left."), Doc(nlp.vocab), nlp("nobody")]
    first, _, last = pipe.annotate(docs)
    assert [(ent.text, ent.label_) for ent in first.ents] == [("Marie  Curie", "PER")]
    assert first.spans["ner"].attrs["scores"][0] > 0.99
    assert last.ents == ()
    assert list(last.spans["ner"]) == []


def test_annotating_writes_under_the_key_of_the_call() -> None:
    pipe = scripted(always("O"))
    (doc,) = pipe.annotate([spacy.blank("en")("nobody")], spans_key="found")
    assert [*doc.spans] == ["found"]


@pytest.mark.parametrize("labels", ["PER", None, 3, [1]])
def test_ignored_labels_are_a_list(ours: dict[str, NerPipeline], labels: Any) -> None:
    with pytest.raises(OptionError, match=r"ignore_labels=.*expected a list of texts"):
        ours["v3"](TEXT, ignore_labels=labels)


def test_annotating_keeps_entities_that_are_there() -> None:
    nlp = spacy.blank("en")
    doc = nlp("Marie Curie in Paris")
    doc.ents = [doc.char_span(0, 5, label="NAME")]
    pipe = scripted({"Marie": "B-PER", "Curie": "I-PER", "in": "O", "Paris": "B-LOC", "": "O"}.get)
    (doc,) = pipe.annotate([doc])
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Marie", "NAME"), ("Paris", "LOC")]
    assert [span.text for span in doc.spans["ner"]] == ["Marie Curie", "Paris"]


def test_calibration_reads_gold_entities(folders: dict[str, Path]) -> None:
    pipe = NerPipeline(folders["v3"])
    examples = [("Marie Curie moved to Paris .", [(0, 11, "PER"), (21, 26, "LOC")])] * 10
    report = pipe.calibrate(examples)
    assert report.after.nll <= report.before.nll
    with pytest.raises(InputError, match="gold label 'X'"):
        pipe.calibrate([("a", [(0, 1, "X")])], force=True)


def test_saved_pipelines_give_equal_results(folders: dict[str, Path], tmp_path: Path) -> None:
    pipe = NerPipeline(folders["v3"], aggregation="average", threshold=0.3)
    pipe.save_pretrained(tmp_path)
    loaded = NerPipeline(tmp_path)
    assert loaded.options == pipe.options
    assert loaded(TEXT) == pipe(TEXT)
