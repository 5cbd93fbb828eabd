"""The distribution over answers, against loops that share no code with it."""

import itertools
import math
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.decoding.answers import (
    SpanOptions,
    WindowLogits,
    best_spans,
    rank_spans,
    score_spans,
)
from spacy_deberta.errors import DataError

TEXT = "Ada Byron met Charles Babbage in London, in 1833, and he showed her the engine"


def piece_spans(text: str, size: int = 3) -> list[tuple[int, int]]:
    """Words cut into pieces of at most `size` characters; punctuation stays with its word."""
    spans, at = [], 0
    for word in text.split(" "):
        for start in range(0, len(word), size):
            spans.append((at + start, at + min(start + size, len(word))))
        at += len(word) + 1
    return spans


def make_window(
    text: str, first: int, last: int, seed: int = 0, *, context: int = 0, scale: float = 2.0
) -> WindowLogits:
    rng = np.random.default_rng(seed)
    spans = np.array(piece_spans(text)[first:last]).reshape(-1, 2)
    n = len(spans)
    start, end = rng.normal(0, scale, (2, n)).astype(np.float32)
    return WindowLogits(start, end, float(rng.normal()), spans[:, 0], spans[:, 1], context)


def grow(text: str, start: int, end: int) -> tuple[int, int]:
    while start and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    return start, end


def brute_force(
    windows: list[WindowLogits], texts: list[str], options: SpanOptions
) -> tuple[dict[tuple[int, int, int], float], float]:
    """Every span's probability and that of no answer, by loops over pieces."""
    best: dict[tuple[int, int, int], tuple[int, int, float]] = {}
    for number, window in enumerate(windows):
        n = len(window.start)
        found: dict[tuple[int, int, int], tuple[float, int]] = {}
        for i, j in itertools.product(range(n), range(n)):
            if not i <= j < i + options.max_answer_len:
                continue
            start, end = int(window.char_starts[i]), int(window.char_ends[j])
            if options.align_to_words:
                start, end = grow(texts[window.context], start, end)
            odds = float(window.start[i]) + float(window.end[j])
            odds -= window.null if options.null == "relative" else 0.0
            total, room = found.get((window.context, start, end), (0.0, n))
            found[window.context, start, end] = total + math.exp(odds), min(room, i, n - 1 - j)
        for key, (total, room) in found.items():
            held = best.get(key)
            if held is None or room > held[0]:
                best[key] = room, number, math.log(total)
    weights = {key: math.exp(odds / options.temperature) for key, (_, _, odds) in best.items()}
    null = 1.0 if options.null == "relative" else 0.0
    z = null + sum(weights.values())
    return {key: weight / z for key, weight in weights.items()}, null / z


@pytest.mark.parametrize("null", ["relative", "off"])
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("cuts", [[(0, 99)], [(0, 14), (8, 22), (16, 99)], [(0, 12), (2, 14)]])
def test_probabilities_are_those_of_a_loop_over_all_spans(
    null: str, align: bool, cuts: list[tuple[int, int]]
) -> None:
    other = "Nobody knows why, or when"
    windows = [make_window(TEXT, a, b, seed) for seed, (a, b) in enumerate(cuts)]
    windows.append(make_window(other, 0, 99, 7, context=1))
    options = SpanOptions(5, null, align_to_words=align, temperature=1.5)
    scores = score_spans(windows, [TEXT, other], options)
    expected, null_probability = brute_force(windows, [TEXT, other], options)
    keys = zip(scores.context.tolist(), scores.start.tolist(), scores.end.tolist(), strict=True)
    found = dict(zip(keys, scores.probability.tolist(), strict=True))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-9)
    assert scores.null_probability == pytest.approx(null_probability, rel=1e-9)
    assert sum(found.values()) + scores.null_probability == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=40)
@given(
    n=st.integers(0, 40),
    width=st.integers(1, 50),
    seed=st.integers(0, 99),
    null=st.sampled_from(["relative", "off"]),
)
def test_everything_sums_to_one(n: int, width: int, seed: int, null: str) -> None:
    windows = [make_window(TEXT, 0, n, seed, scale=30), make_window(TEXT, n // 2, 40, seed + 1)]
    scores = score_spans(windows, [TEXT], SpanOptions(width, null))
    total = scores.probability.sum() + scores.null_probability
    assert total == pytest.approx(1.0, abs=1e-9)
    assert np.all(scores.end > scores.start)


def test_for_one_window_it_is_the_softmax_over_spans_and_null() -> None:
    window = make_window(TEXT, 0, 99)
    scores = score_spans([window], [TEXT], SpanOptions(4, align_to_words=False))
    outer = window.start[:, None].astype(float) + window.end.astype(float)
    i, j = np.indices(outer.shape)
    spans = outer[(j >= i) & (j < i + 4)]
    together = np.append(spans, window.null)
    softmax = np.exp(together - np.logaddexp.reduce(together))
    assert sorted(scores.probability) == pytest.approx(sorted(softmax[:-1]))
    assert scores.null_probability == pytest.approx(softmax[-1])


def test_the_window_with_most_context_scores_a_span_that_both_see() -> None:
    """Never their sum: with it, row 68's score was 3.43."""
    n = len(piece_spans(TEXT))
    first, second = make_window(TEXT, 0, 15, 1), make_window(TEXT, 10, n, 2)
    scores = score_spans([first, second], [TEXT], SpanOptions(1, align_to_words=False))
    spans = piece_spans(TEXT)
    for piece in range(n):
        (place,) = np.flatnonzero(scores.start == spans[piece][0])
        # pieces 10 to 14 are in both; 12 is in the middle, and goes to the earlier
        assert scores.window[place] == (0 if piece <= 12 else 1)


def test_words_are_whole_and_punctuation_stays_outside() -> None:
    scores = score_spans([make_window(TEXT, 0, 99)], [TEXT], SpanOptions(6))
    for start, end in zip(scores.start.tolist(), scores.end.tolist(), strict=True):
        assert not (start and TEXT[start - 1].isalnum() and TEXT[start].isalnum())
        assert not (end < len(TEXT) and TEXT[end - 1].isalnum() and TEXT[end].isalnum())
        assert TEXT[start:end] == TEXT[start:end].strip()
    texts = {TEXT[a:b] for a, b in zip(scores.start, scores.end, strict=True)}
    assert {"London", "London,", "Charles Babbage"} <= texts


def test_characters_of_scripts_without_spaces_are_not_joined() -> None:
    text = "東京は日本の首都です"
    spans = np.array([(i, i + 2) for i in range(0, 10, 2)])
    zeros = np.zeros(5)
    window = WindowLogits(zeros, zeros, 0.0, spans[:, 0], spans[:, 1])
    scores = score_spans([window], [text], SpanOptions(1))
    assert scores.start.tolist() == spans[:, 0].tolist()


def test_best_spans_are_disjoint_and_mass_counts_what_they_suppress() -> None:
    scores = score_spans([make_window(TEXT, 0, 99)], [TEXT], SpanOptions(6))
    ranked = rank_spans(scores, 100)
    taken = [set(range(scores.start[r.index], scores.end[r.index])) for r in ranked]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(taken, 2))
    assert [r.probability for r in ranked] == sorted((r.probability for r in ranked), reverse=True)
    assert sum(r.mass for r in ranked) == pytest.approx(1.0 - scores.null_probability)
    best = ranked[0]
    shared = [
        bool(taken[0] & set(range(a, b))) for a, b in zip(scores.start, scores.end, strict=True)
    ]
    assert best.mass == pytest.approx(scores.probability[np.array(shared)].sum())


def test_what_is_found_does_not_depend_on_how_many_are_asked_for() -> None:
    scores = score_spans([make_window(TEXT, 0, 99)], [TEXT], SpanOptions(6))
    assert rank_spans(scores, 5)[:2] == rank_spans(scores, 2)


def test_overlap_of_one_suppresses_nothing() -> None:
    scores = score_spans([make_window(TEXT, 0, 99)], [TEXT], SpanOptions(6))
    ranked = rank_spans(scores, len(scores), overlap=1.0)
    assert len(ranked) == len(scores)
    assert all(r.mass == r.probability for r in ranked)


def test_spans_of_one_text_are_grouped_when_asked() -> None:
    text = "Paris and paris and Paris"
    scores = score_spans([make_window(text, 0, 99, 3)], [text], SpanOptions(2))
    (best, *_) = rank_spans(scores, 1, texts=[text])
    places = [best.index, *best.twins]
    texts = [text[scores.start[i] : scores.end[i]].lower() for i in places]
    assert len(set(texts)) == 1
    assert best.probability == pytest.approx(scores.probability[places].sum())


def test_no_span_at_all_means_no_answer() -> None:
    for null in ("relative", "off"):
        scores = score_spans([], ["   "], SpanOptions(null=null))
        assert (len(scores), scores.null_probability) == (0, 1.0)
        assert rank_spans(scores, 3) == []


def test_text_order_decides_between_equals() -> None:
    spans = np.array(piece_spans("one two three", 5))
    zeros = np.zeros(3)
    window = WindowLogits(zeros, zeros, 0.0, spans[:, 0], spans[:, 1])
    scores = score_spans([window], ["one two three"], SpanOptions(1))
    assert [scores.start[r.index] for r in rank_spans(scores, 3)] == [0, 4, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_answer_len": 0}, "max_answer_len=0, expected 1 or more"),
        ({"null": "min"}, "null='min' is unknown"),
        ({"temperature": 0.0}, "temperature=0.0, expected a number above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SpanOptions(**options)  # type: ignore[arg-type]


def test_logits_that_are_no_numbers_are_refused() -> None:
    window = make_window(TEXT, 0, 9)
    window.start[3] = np.nan
    with pytest.raises(DataError, match="window 0: found a logit that is not a finite number"):
        score_spans([window], [TEXT], SpanOptions())


@settings(max_examples=150)
@given(
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 14)), max_size=6),
    top_k=st.integers(0, 5),
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.0, 2.0, 20.0]),
    options=st.builds(
        SpanOptions,
        max_answer_len=st.integers(1, 6),
        null=st.sampled_from(["relative", "off"]),
        align_to_words=st.booleans(),
        temperature=st.just(1.5),
    ),
)
def test_the_best_spans_of_windows_read_one_by_one_are_those_of_all(
    steps: list[tuple[int, int]],
    top_k: int,
    seed: int,
    scale: float,
    options: SpanOptions,
) -> None:
    text = TEXT.replace(" and he", " andheandheandheandheandheandhe")
    starts = np.cumsum([step for step, _ in steps]).tolist()
    windows = [
        make_window(text, start, start + size, seed + number, scale=scale)
        for number, (start, (_, size)) in enumerate(zip(starts, steps, strict=True))
    ]
    every = score_spans(windows, [text], options)
    best = best_spans(iter(windows), text, options, top_k)
    assert best.null_probability == pytest.approx(every.null_probability, rel=1e-9)
    wanted, found = (
        [(s.start[r.index], s.end[r.index], s.window[r.index]) for r in rank_spans(s, top_k)]
        for s in (every, best)
    )
    assert found == wanted
    chances = [[r.probability for r in rank_spans(s, top_k)] for s in (every, best)]
    assert chances[1] == pytest.approx(chances[0], rel=1e-9)


def test_memory_of_the_best_spans_does_not_grow_with_the_windows() -> None:
    def windows(n: int) -> Iterator[WindowLogits]:
        for number in range(n):
            yield make_window(text, 20 * number, 20 * number + 30, number)

    peaks = []
    for n in (10, 40):
        text = "abc " * (20 * n + 10)
        best_spans([], text, SpanOptions(), 3)
        tracemalloc.start()
        held = best_spans(windows(n), text, SpanOptions(align_to_words=False), 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(held) == 1
    assert peaks[1] < 1.5 * peaks[0] + 100_000
