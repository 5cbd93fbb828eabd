"""What all tasks share: containers, order, laziness, errors, batches."""

import itertools
import json
import math
import random
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.batching import Row, collate, plan_batches
from pipelines.records import Failed
from pipelines.running import run_batches
from spacy_deberta.errors import InputError, OptionError, PipelineError
from tests.pipelines.conftest import Written
from tests.pipelines.models import build_model, tokenizer_of
from tests.pipelines.toy import ToyPipeline

TEXTS = ["Angela Merkel lives in Berlin.", "", "a", "the old river " * 12, "Zürich 😀 ½", "good"]


@pytest.fixture(scope="module")
def toy(written: Written) -> ToyPipeline:
    return ToyPipeline(written("text-classification"), device="cpu")


# --- containers -----------------------------------------------------------------------------------


def test_one_input_gives_one_record_and_a_list_as_many(toy: ToyPipeline) -> None:
    one = toy("good")
    assert toy(["good"]) == [one]
    assert toy([]) == []
    assert [record.text for record in toy(TEXTS)] == TEXTS


@pytest.mark.parametrize(
    "make", [iter, lambda texts: map(str, texts), lambda texts: (t for t in texts)]
)
def test_row_59_any_iterator_is_a_lazy_stream(toy: ToyPipeline, make: Any) -> None:
    found = toy(make(TEXTS))
    assert isinstance(found, Iterator)
    assert _close(list(found), toy(TEXTS))


def test_row_59_a_numpy_column_is_a_batch(toy: ToyPipeline) -> None:
    assert _close(toy(np.array(TEXTS)), toy(TEXTS))


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ({"a"}, "A set has no order"),
        (b"a", "Decode the bytes"),
        (("a", "b"), "A tuple is one pair"),
        (None, "found None, expected a text"),
        (3.5, "found float 3.5, expected a text"),
    ],
)
def test_row_59_what_is_no_text_is_refused_with_advice(
    toy: ToyPipeline, value: Any, advice: str
) -> None:
    with pytest.raises(InputError, match=advice):
        toy(value)


def test_a_list_within_a_list_is_refused(toy: ToyPipeline) -> None:
    with pytest.raises(InputError, match="A list is a batch"):
        toy([["a", "b"]])


def test_contexts_travel_with_their_records(toy: ToyPipeline) -> None:
    found = list(toy.pipe(zip(TEXTS, range(9), strict=False), as_tuples=True))
    assert [(record.text, number) for record, number in found] == [
        *zip(TEXTS, range(6), strict=True)
    ]
    with pytest.raises(InputError, match=r"expected \(input, context\)"):
        list(toy.pipe(["a"], as_tuples=True))


def test_docs_are_annotated_in_order(toy: ToyPipeline) -> None:
    nlp = spacy.blank("en")
    docs = list(toy.annotate(nlp.pipe(["good", "bad", "a"]), on_error="return"))
    assert [doc.text for doc in docs] == ["good", "bad", "a"]
    assert [bool(doc.cats) for doc in docs] == [True, False, True]
    assert len(list(toy.annotate(nlp.pipe(["good", "bad"]), on_error="skip"))) == 1


def test_every_record_passes_json(toy: ToyPipeline) -> None:
    for record in toy([*TEXTS, None], on_error="return"):
        assert json.loads(record.to_json()) == json.loads(json.dumps(record.to_dict()))


# --- order and neighbours -------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    order=st.permutations(range(len(TEXTS))),
    budget=st.integers(1, 200),
    size=st.integers(1, 9),
)
def test_row_44_results_depend_neither_on_neighbours_nor_on_budgets(
    order: list[int], budget: int, size: int
) -> None:
    toy = _shared_toy(budget)
    texts = [TEXTS[number] for number in order]
    alone = [_shared_toy(4096)(text) for text in texts]
    assert _close(toy(texts, batch_size=size), alone)


def test_row_61_rows_are_batched_by_length_under_the_budget() -> None:
    lengths = [9] * 31 + [122]
    batches = plan_batches(lengths, 200, 1 << 30)
    assert sorted(itertools.chain(*batches)) == list(range(32))
    assert all(sum(lengths[n] for n in batch) <= 200 for batch in batches)
    rectangle = sum(len(batch) * max(lengths[n] for n in batch) for batch in batches)
    assert rectangle < 32 * 122 / 3  # what one rectangle of all rows would be
    assert [len(b) for b in plan_batches([5] * 10, 1000, 4)] == [4, 4, 2]
    assert plan_batches([500, 3], 10, 9) == [[0], [1]]


def test_padding_is_masked_and_types_are_kept() -> None:
    found = collate([Row([1, 5, 2], [0, 0, 1]), Row([1, 2])], 7, torch.device("cpu"))
    assert found["input_ids"].tolist() == [[1, 5, 2], [1, 2, 7]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert found["token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert set(collate([Row([1, 2])], 7, torch.device("cpu"))) == {"input_ids"}


# --- laziness and memory --------------------------------------------------------------------------


def test_row_17_a_stream_looks_a_bounded_number_of_inputs_ahead(toy: ToyPipeline) -> None:
    taken = itertools.count()
    endless = (f"text {next(taken)}" for _ in itertools.count())
    assert next(toy.pipe(endless)).text == "text 0"
    assert next(taken) <= 65


def test_row_24_long_inputs_are_looked_at_ahead_by_their_characters(toy: ToyPipeline) -> None:
    taken = itertools.count()
    endless = ("old river " * 20_000 + str(next(taken)) for _ in itertools.count())
    next(toy.pipe(endless, window=60))
    assert next(taken) == 1


def test_row_31_a_batch_is_never_larger_than_asked(
    toy: ToyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    forward = toy.forward

    def watched(rows: Any, options: Any) -> Any:
        sizes.append(len(rows))
        return forward(rows, options)

    monkeypatch.setattr(toy, "forward", watched)
    toy(TEXTS * 4, batch_size=5)
    assert max(sizes) == 5


def test_closing_a_stream_early_closes_it(toy: ToyPipeline) -> None:
    stream = toy.pipe("a" for _ in itertools.count())
    assert isinstance(stream, types.GeneratorType)
    next(stream)
    stream.close()
    assert list(stream) == []


def test_progress_is_written_to_stderr_only(
    toy: ToyPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(list(toy.pipe(["a", "b"], progress=True))) == 2
    assert capsys.readouterr().out == ""


# --- errors ---------------------------------------------------------------------------------------


def test_row_60_an_error_names_the_input_and_keeps_the_results_before_it(toy: ToyPipeline) -> None:
    with pytest.raises(InputError, match=r"^input 2 \(None\): .*expected a text") as caught:
        toy(["a", "b", None, "c"])
    assert [record.text for record in caught.value.partial] == ["a", "b"]
    with pytest.raises(InputError, match=r"^input 1 \('undecodable'\)"):
        toy(["a", "undecodable"])
    with pytest.raises(InputError, match=r"^input 'bad': found a bad text"):
        toy("bad")


def test_row_60_results_before_an_error_are_given_by_streams(toy: ToyPipeline) -> None:
    stream = toy.pipe(["a", "b", None, "c"])
    assert [next(stream).text, next(stream).text] == ["a", "b"]
    with pytest.raises(InputError, match="input 2"):
        next(stream)


@pytest.mark.parametrize("bad", [None, b"bytes", "bad", "undecodable", ("a", "b"), 7])
def test_rows_31_and_60_bad_items_are_skipped_or_returned_in_place(
    toy: ToyPipeline, bad: Any
) -> None:
    kept = toy(["a", bad, "b"], on_error="skip")
    assert [record.text for record in kept] == ["a", "b"]
    first, failed, last = toy(["a", bad, "b"], on_error="return")
    assert (first, last) == tuple(kept)
    assert isinstance(failed, Failed)
    assert (failed.index, failed.error_type) == (1, "InputError")
    assert isinstance(toy(bad, on_error="return"), Failed)
    pairs = list(toy.pipe([("a", 1), (bad, 2), ("b", 3)], as_tuples=True, on_error="skip"))
    assert [context for _, context in pairs] == [1, 3]


def test_row_31_an_iterable_that_raises_midway_delivers_what_came_before(toy: ToyPipeline) -> None:
    def broken() -> Iterator[str]:
        yield "a"
        yield "b"
        raise OSError("the disk is gone")

    for policy in ("raise", "skip", "return"):
        stream = toy.pipe(broken(), on_error=policy)
        assert [next(stream).text, next(stream).text] == ["a", "b"]
        with pytest.raises(OSError, match="the disk is gone") as caught:
            next(stream)
        assert caught.value.__notes__ == ["raised by the iterable of inputs, at input 2"]


def test_a_stream_with_many_bad_items_loses_nothing(toy: ToyPipeline) -> None:
    random_ = random.Random(5)
    given_ = [random_.choice([*TEXTS, None, b"x", "bad", "undecodable"]) for _ in range(500)]
    found = list(toy.pipe(iter(given_), on_error="return"))
    assert len(found) == 500
    for number, (raw, record) in enumerate(zip(given_, found, strict=True)):
        if raw in TEXTS:
            assert record.text == raw
        else:
            assert record.index == number


def test_row_42_previews_are_short_and_without_control_characters(toy: ToyPipeline) -> None:
    failed = toy([{"\x1b[31m": "\x07" * 90}], on_error="return")[0]
    assert failed.preview.isprintable()
    assert failed.message.isprintable()
    assert len(failed.preview) < 300


def test_options_are_checked_before_anything_runs(toy: ToyPipeline) -> None:
    with pytest.raises(OptionError, match=r"unknown option 'topp'.*Did you mean 'top"):
        toy.pipe(["a"], topp=1)
    with pytest.raises(OptionError, match="top_k=0, expected a whole number of 1 or more"):
        toy.pipe(["a"], topk=0)
    with pytest.raises(OptionError, match="top_k is given twice"):
        toy("a", topk=1, top_k=2)
    with pytest.raises(OptionError, match="on_error='stop', expected one of 'raise'"):
        toy("a", on_error="stop")
    with pytest.raises(OptionError, match="expected one; give several as a list"):
        toy("a", "b")


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_rows_62_and_32_sizes_are_whole_and_positive(
    toy: ToyPipeline, written: Written, size: Any
) -> None:
    with pytest.raises(OptionError, match="batch_size="):
        toy("a", batch_size=size)
    for name in ("batch_size", "batch_pieces", "max_length"):
        with pytest.raises(OptionError, match=f"{name}="):
            ToyPipeline(written("text-classification"), **{name: size})
    assert toy("a", batch_size=10**9) == toy("a")


# --- the model ------------------------------------------------------------------------------------


def test_row_32_a_device_that_is_absent_is_refused(written: Written) -> None:
    for device in ("cuda:7", "tpu", 7):
        with pytest.raises(OptionError, match="device="):
            ToyPipeline(written("text-classification"), device=device)
    with pytest.raises(OptionError, match="dtype='int8', expected 'auto'"):
        ToyPipeline(written("text-classification"), dtype="int8")
    assert ToyPipeline(written("text-classification"), device=-1).model.device.type == "cpu"


def test_row_33_a_batch_that_does_not_fit_is_halved() -> None:
    rows = [Row([1] * n) for n in (5, 9, 2, 7, 7, 3)]
    sizes = []

    def forward(batch: Any) -> list[int]:
        sizes.append(len(batch))
        if sum(map(len, batch)) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [len(row) for row in batch]

    assert run_batches(rows, forward, 1000, 1000) == [5, 9, 2, 7, 7, 3]
    assert sizes[0] == 6
    with pytest.raises(PipelineError, match="one row of 11 pieces"):
        run_batches([*rows, Row([1] * 11)], forward, 1000, 1000)

    def wrong(batch: Any) -> list[int]:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        run_batches(rows, wrong, 1000, 1000)


@pytest.mark.parametrize(
    ("place", "name"),
    [("layers.1.output.dense.weight", "layer 2 of 2"), ("head.", "the head")],
)
def test_row_35_results_that_are_no_numbers_are_refused(place: str, name: str) -> None:
    model = build_model("text-classification")
    for key, tensor in model.state_dict().items():
        if place in key:
            tensor.fill_(math.nan)
    toy = ToyPipeline(model, tokenizer=tokenizer_of())
    with pytest.raises(PipelineError, match=f"not finite.*{name}"):
        toy("a", on_error="return")  # about the model, so no policy hides it


def test_row_34_threads_share_a_pipeline(toy: ToyPipeline) -> None:
    expected = toy(TEXTS * 5)
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: toy(TEXTS * 5)})) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_close(found[number], expected) for number in range(4))


def test_row_23_awkward_texts_give_records(toy: ToyPipeline) -> None:
    texts = [
        "",
        "  \n",
        "\x00",
        "a\ufeffb",
        "e" + "\u0301" * 2000,
        "\u202eabc\u202c",
        "[MASK] [SEP]",
    ]
    assert [record.text for record in toy(texts)] == texts
    with pytest.warns(UserWarning, match="lone surrogate"):
        assert toy("a\ud800b").text == "a\ud800b"


def test_row_25_special_pieces_in_texts_are_text(toy: ToyPipeline) -> None:
    row = toy.encode("[MASK] </s> [SEP]", toy.options)[0]
    assert toy.tokenizer.core.mask_id not in row.ids[1:-1]
    assert toy.tokenizer.core.sep_id not in row.ids[1:-1]


@pytest.mark.slow
def test_a_hundred_thousand_texts_stream_in_bounded_memory(toy: ToyPipeline) -> None:
    import resource

    stream = toy.pipe(TEXTS[number % 6] for number in range(100_000))
    for _ in range(5000):
        next(stream)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in stream) == 95_000
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 30_000  # KiB


_TOYS: dict[int, ToyPipeline] = {}


def _shared_toy(budget: int) -> ToyPipeline:
    if not _TOYS:
        _TOYS[0] = ToyPipeline(build_model("text-classification"), tokenizer=tokenizer_of())
    return ToyPipeline(_TOYS[0].model, tokenizer=_TOYS[0].tokenizer, batch_pieces=budget)


def _close(found: Any, expected: Any) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return all(
        (a.text, a.label, a.n_rows) == (b.text, b.label, b.n_rows) and abs(a.score - b.score) < 1e-5
        for a, b in pairs
    )


@pytest.mark.parametrize("value", ["abc", b"abc", {"text": "a"}, {"a"}, None, 5, np.array("a")])
def test_row_59_one_input_is_no_stream_of_its_letters(toy: ToyPipeline, value: Any) -> None:
    with pytest.raises(InputError, match="expected several inputs"):
        toy.pipe(value)


def test_row_59_an_array_without_a_dimension_is_refused(toy: ToyPipeline) -> None:
    with pytest.raises(InputError, match="found ndarray"):
        toy(np.array("a"))


def test_row_59_a_dataset_of_torch_is_a_lazy_stream(toy: ToyPipeline) -> None:
    class Texts(torch.utils.data.Dataset[str]):
        def __len__(self) -> int:
            return len(TEXTS)

        def __getitem__(self, index: int) -> str:
            return TEXTS[index]

    found = toy(Texts())
    assert isinstance(found, Iterator)
    assert _close(list(found), toy(TEXTS))


def test_annotating_asks_for_several_docs(toy: ToyPipeline) -> None:
    with pytest.raises(InputError, match="expected several Docs"):
        toy.annotate(spacy.blank("en")("one Doc"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"input 0.*expected a Doc"):
        list(toy.annotate(["a text"]))  # type: ignore[list-item]
