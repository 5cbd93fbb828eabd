"""Decoding against an oracle that enumerates all sequences of tags and shares no code with it."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from spacy_deberta.decoding.emissions import aggregate_words, log_softmax
from spacy_deberta.decoding.scheme import TagScheme, make_tags, read_scheme
from spacy_deberta.decoding.segmenter import segment_words, whitespace_words
from spacy_deberta.decoding.tags import best_tags, candidate_spans, decode_tags, posteriors
from spacy_deberta.errors import DataError, OptionError

Spans = tuple[tuple[int, int, str], ...]

TAGS = {
    "BIO": ["O", "B-X", "I-X", "B-Y", "I-Y"],
    "IOB1": ["O", "I-X", "B-Y", "I-Y"],
    "BILUO": ["O", "B-X", "I-X", "L-X", "U-X", "U-Y"],
    "BIOES": ["S-X", "E-X", "I-X", "B-X", "O"],
    "plain": ["X", "O", "Y"],
    "no O": ["B-X", "I-X", "B-Y", "I-Y"],
    "mixed": ["O", "B-X", "I-X", "L-X", "U-Y", "date-time"],
}


def oracle_spans(tags: tuple[str, ...]) -> Spans:
    """The spans of a sequence, by the textbook: B, U, S begin; L, U, E, S end."""
    spans: list[tuple[int, int, str]] = []
    before = "O"
    for place, tag in enumerate(tags):
        if tag != "O":
            role, kind = split(tag)
            old_role, old_kind = split(before)
            goes_on = role in "ILE" and old_role in "BI" and kind == old_kind
            if goes_on:
                spans[-1] = (spans[-1][0], place + 1, kind)
            else:
                spans.append((place, place + 1, kind))
        before = tag
    return tuple(spans)


def split(tag: str) -> tuple[str, str]:
    prefix, mark, kind = tag.partition("-")
    return (prefix, kind) if mark and len(prefix) == 1 else ("O" if tag == "O" else "I", tag)


def is_legal(tags: tuple[str, ...], name: str) -> bool:
    for old, new in itertools.pairwise(("O", *tags, "O")):
        (old_role, old_kind), (role, kind) = split(old), split(new)
        same = kind == old_kind
        must_go_on = name in ("BILUO", "BIOES", "mixed") and old_role in "BI" and old_kind == "X"
        if must_go_on and not (same and role in "ILE"):
            return False
        if name == "IOB1":
            legal = role != "B" or (same and old_role in "BI")
        elif name == "plain" or kind == "date-time":
            legal = True
        else:
            legal = role not in "ILE" or (same and old_role in "BI")
        if not legal:
            return False
    return True


def legal_sequences(name: str, length: int) -> Iterator[tuple[int, ...]]:
    tags = TAGS[name]
    for numbers in itertools.product(range(len(tags)), repeat=length):
        if is_legal(tuple(tags[n] for n in numbers), name):
            yield numbers


def random_emissions(seed: int, length: int, n_tags: int, scale: float = 2.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=scale, size=(length, n_tags))
    return log_softmax(logits)


def scheme_of(name: str) -> TagScheme:
    return read_scheme(TAGS[name])


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("name", TAGS)
def test_viterbi_finds_the_best_legal_sequence(name: str, length: int) -> None:
    scheme, sequences = scheme_of(name), list(legal_sequences(name, length))
    emissions = [random_emissions(seed, length, len(TAGS[name])) for seed in range(20)]
    for scores, found in zip(emissions, best_tags(emissions, scheme), strict=True):
        masses = [sum(scores[t, tag] for t, tag in enumerate(tags)) for tags in sequences]
        assert tuple(found) == sequences[int(np.argmax(masses))]


@pytest.mark.parametrize("length", [1, 2, 4, 5])
@pytest.mark.parametrize("name", TAGS)
def test_posterior_of_every_span_equals_enumeration(name: str, length: int) -> None:
    scheme = scheme_of(name)
    scores = random_emissions(length, length, len(TAGS[name]))
    expected: dict[tuple[int, int, str], float] = {}
    total = 0.0
    for numbers in legal_sequences(name, length):
        mass = np.exp(sum(scores[t, tag] for t, tag in enumerate(numbers)))
        total += mass
        for span in oracle_spans(tuple(TAGS[name][n] for n in numbers)):
            expected[span] = expected.get(span, 0.0) + mass
    found = candidate_spans(scores, scheme, threshold=0.0, longest=length)
    assert {(s.start, s.end, s.label) for s in found} >= set(expected)
    for span in found:
        wanted = expected.get((span.start, span.end, span.label), 0.0) / total
        assert span.score == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", TAGS)
def test_other_sequences_of_the_batch_change_nothing(name: str) -> None:
    scheme, lengths = scheme_of(name), [3, 0, 17, 1, 9, 4, 30, *range(1, 25), *range(1, 25)]
    emissions = [random_emissions(i, n, len(TAGS[name])) for i, n in enumerate(lengths)]
    together = decode_tags(emissions, scheme)
    assert together[1] == []
    for scores, spans in zip(emissions, together, strict=True):
        (alone,) = decode_tags([scores], scheme)
        assert [(s.start, s.end, s.label) for s in spans] == [
            (s.start, s.end, s.label) for s in alone
        ]
        assert [s.score for s in spans] == pytest.approx([s.score for s in alone], abs=1e-12)


@pytest.mark.parametrize("name", TAGS)
def test_spans_and_tags_are_inverse_for_legal_sequences(name: str) -> None:
    scheme = scheme_of(name)
    for tags in legal_sequences(name, 4):
        spans = scheme.spans(tags)
        named = tuple((start, end, scheme.types[kind]) for start, end, kind in spans)
        assert named == oracle_spans(tuple(TAGS[name][n] for n in tags))
        assert tuple(scheme.encode(spans, 4)) == tags


def test_long_sequences_keep_exact_posteriors() -> None:
    scheme = scheme_of("BIO")
    short = random_emissions(0, 6, 5)
    certain = np.full((3000, 5), -800.0)
    certain[:, 0] = 0.0
    alone = decode_tags([short], scheme)[0]
    inside = decode_tags([np.concatenate([certain, short, certain])], scheme)[0]
    assert [s.start - 3000 for s in inside] == [s.start for s in alone]
    assert [s.score for s in inside] == pytest.approx([s.score for s in alone], abs=1e-9)


def test_impossible_emissions_give_finite_scores() -> None:
    scores = np.full((4, 5), -np.inf)
    scores[:, 2] = 0.0  # I-X, I-X, ...: nothing legal is possible
    (spans,) = decode_tags([scores], scheme_of("BIO"))
    assert [(s.start, s.label) for s in spans] == [(0, "X")]
    assert 0.0 <= spans[0].score <= 1.0


def test_greedy_reads_an_i_behind_o_as_a_beginning() -> None:
    scheme = scheme_of("BIO")
    scores = log_softmax(np.eye(5)[[0, 2, 2, 4, 1, 1]] * 5)
    (greedy,) = decode_tags([scores], scheme, constrained=False, score="mean")
    assert [(s.start, s.end, s.label) for s in greedy] == [
        (1, 3, "X"),
        (3, 4, "Y"),
        (4, 5, "X"),
        (5, 6, "X"),
    ]
    assert greedy[0].score == pytest.approx(np.exp(5) / (np.exp(5) + 4))


def test_nothing_goes_on_behind_a_last_tag() -> None:
    assert scheme_of("BILUO").spans([1, 3, 2, 4, 2]) == [(0, 2, 0), (2, 3, 0), (3, 4, 0), (4, 5, 0)]


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (["O", "B-PER", "I-PER"], "BIO"),
        (["O", "I-PER", "B-LOC", "I-LOC"], "IOB1"),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], "BILUO"),
        (["S-PER", "B-PER", "E-PER", "I-PER", "O"], "BILUO"),
        (["O", "B-PER", "I-PER", "L-PER", "U-LOC", "date-time"], "BILUO"),
        (["O", "PER", "date-time"], "plain"),
        (["NOUN", "VERB"], "plain"),
    ],
)
def test_scheme_is_recognized_from_the_tags(tags: list[str], name: str) -> None:
    assert read_scheme(tags).name == name


@pytest.mark.parametrize("name", ["BIO", "BILUO", "plain", "IOB1"])
def test_made_tags_are_read_as_their_scheme_and_grow_at_the_end(name: str) -> None:
    tags = make_tags(["X", "Y"], name)
    assert read_scheme(tags, name).types == ("X", "Y")
    assert make_tags(["X", "Y", "Z"], name)[: len(tags)] == tags


def test_wrong_schemes_are_refused() -> None:
    with pytest.raises(OptionError, match="scheme='BIOX': expected one of BIO, IOB1"):
        read_scheme(["O"], "BIOX")
    with pytest.raises(OptionError, match="no legal span of type 'X'"):
        read_scheme(["O", "B-X"], "IOB1")


def test_emissions_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"found shape \(2, 3\), expected \(T, 5\)"):
        decode_tags([np.zeros((2, 3))], scheme_of("BIO"))
    with pytest.raises(DataError, match="NaN"):
        decode_tags([np.full((2, 5), np.nan)], scheme_of("BIO"))


@pytest.mark.parametrize("how", ["first", "average", "logmean", "max"])
def test_words_take_their_pieces_probabilities(how: str) -> None:
    emissions = random_emissions(3, 6, 4)
    pieces, lengths = np.array([0, 1, 1, 3, 4, 5]), np.array([2, 1, 3])
    found = aggregate_words(emissions, pieces, lengths, how)
    words = [[0, 1], [1], [3, 4, 5]]
    for row, own in zip(found, words, strict=True):
        scores = emissions[own]
        expected = {
            "first": scores[0],
            "average": np.log(np.exp(scores).mean(axis=0)),
            "logmean": log_softmax(scores.mean(axis=0)),
            "max": scores[scores.max(axis=1).argmax()],
        }[how]
        assert row == pytest.approx(expected)


def test_unknown_aggregation_is_refused() -> None:
    with pytest.raises(OptionError, match="first, average, logmean, max"):
        aggregate_words(np.zeros((1, 2)), np.array([0]), np.array([1]), "FOO")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hi (Angela), Merkel. x", ["Hi", "(", "Angela", ")", ",", "Merkel", ".", "x"]),
        ("O'Neill's U.S. 3.5%", ["O'Neill's", "U.S", ".", "3.5", "%"]),
        ("我在柏林 Tōkyō", ["我", "在", "柏", "林", "Tōkyō"]),
        (
            "cafe\u0301 👩\u200d👩\u200d👧 👍🏽🇩🇪!",
            ["cafe\u0301", "👩\u200d👩\u200d👧", "👍🏽", "🇩🇪", "!"],
        ),
        ("", []),
        (" \n\t", []),
    ],
)
def test_texts_are_split_into_words(text: str, words: list[str]) -> None:
    starts, ends = segment_words(text)
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == words


def test_whitespace_words_keep_their_punctuation() -> None:
    starts, ends = whitespace_words(" Hi (Angela),\nx ")
    assert list(zip(starts, ends, strict=True)) == [(1, 3), (4, 13), (14, 15)]


def test_posteriors_of_no_sequences_are_none() -> None:
    assert posteriors([], scheme_of("BIO")) == []
    assert decode_tags([], scheme_of("BIO")) == []
