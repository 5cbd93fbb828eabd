"""Tags of a sequence to spans with scores: constrained Viterbi, and the posterior of every span.

Emissions are log-probabilities of K tags at T places, independent of each other given the text; the
scheme says which tag may follow which, with no weights. Under that constraint:

    best sequence    Viterbi
    score of a span  the probability that exactly this span, with this type, is there: the sum over
                     all legal sequences that hold it, by forward-backward

Sequences of similar length run together, vectorized over sequences and tags, so a step in time is
a few numpy calls. Time O(T * K), memory O(T * K).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spacy_deberta.decoding.posteriors import FLOOR, SpanPosteriors, span_posteriors
from spacy_deberta.decoding.scheme import TagScheme
from spacy_deberta.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
R = TypeVar("R")

_GROUP_ROWS = 65536  # places that run together, padding included: some tens of MB with 40 tags
_PADDED = 2  # the longest sequence of a group is at most so many times its shortest


@dataclass(frozen=True, slots=True)
class TagSpan:
    """A span of a sequence of tags.

    Attributes:
        start: its first place.
        end: one behind its last.
        label: its type.
        score: from 0 to 1.
    """

    start: int
    end: int
    label: str
    score: float


def decode_tags(
    emissions: Sequence[npt.NDArray[np.floating]],
    scheme: TagScheme,
    *,
    constrained: bool = True,
    score: str = "posterior",
) -> list[list[TagSpan]]:
    """The spans of several sequences.

    Args:
        emissions: (T, K) log-probabilities of each sequence.
        scheme: of the K tags.
        constrained: the best legal sequence of tags; else the best tag of each place, read
            generously.
        score: "posterior", or "mean" for the mean probability of a span's tags.

    Raises:
        DataError: emissions of another number of tags, or not finite.
    """
    checked = [_check(scores, scheme) for scores in emissions]
    if constrained:
        tags = best_tags(checked, scheme)
    else:
        tags = [scores.argmax(axis=1) for scores in checked]
    found = [scheme.spans(best) for best in tags]
    if score == "mean":
        scored = [_means(*each) for each in zip(checked, tags, found, strict=True)]
    else:
        filled = [number for number, spans in enumerate(found) if spans]
        of_filled = posteriors([checked[number] for number in filled], scheme)
        scored = [[] for _ in found]
        for number, posterior in zip(filled, of_filled, strict=True):
            scored[number] = posterior.of(np.array(found[number])).tolist()
    return [
        [
            TagSpan(start, end, scheme.types[kind], value)
            for (start, end, kind), value in zip(spans, values, strict=True)
        ]
        for spans, values in zip(found, scored, strict=True)
    ]


def candidate_spans(
    emissions: npt.NDArray[np.floating], scheme: TagScheme, *, threshold: float, longest: int
) -> list[TagSpan]:
    """Every span of at most `longest` places whose posterior reaches the threshold.

    They may overlap and nest; in order of start, then longest first.
    """
    (posterior,) = posteriors([_check(emissions, scheme)], scheme)
    return [
        TagSpan(start, end, scheme.types[kind], value)
        for start, end, kind, value in posterior.above(threshold, longest)
    ]


def best_tags(emissions: Sequence[Floats], scheme: TagScheme) -> list[Ints]:
    """The most probable legal sequence of tags, (T,), of each sequence; Viterbi."""
    return _in_groups(emissions, lambda grid, lengths: _viterbi(grid, lengths, scheme))


def posteriors(emissions: Sequence[Floats], scheme: TagScheme) -> list[SpanPosteriors]:
    """The posteriors of all spans of each sequence; forward-backward."""
    return _in_groups(emissions, lambda grid, lengths: span_posteriors(grid, lengths, scheme))


def _in_groups(emissions: Sequence[Floats], run: Callable[[Floats, Ints], list[R]]) -> list[R]:
    """Run over padded grids (T, B, K) of sequences of similar length; results in order."""
    results: dict[int, R] = {}
    for group in _groups([len(scores) for scores in emissions]):
        lengths = np.array([len(emissions[number]) for number in group])
        grid = np.zeros((lengths.max(), len(group), emissions[group[0]].shape[1]))
        for column, number in enumerate(group):
            grid[: lengths[column], column] = emissions[number]
        results.update(zip(group, run(grid, lengths), strict=True))
    return [results[number] for number in range(len(emissions))]


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    group: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        longest = lengths[group[0]] if group else 0
        full = (len(group) + 1) * longest > _GROUP_ROWS
        if group and (full or lengths[number] * _PADDED < longest):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _viterbi(grid: Floats, lengths: Ints, scheme: TagScheme) -> list[Ints]:
    n_places, n_rows, n_tags = grid.shape
    continues, ends = scheme.continues, np.flatnonzero(scheme.ends)
    if not n_places:
        return [np.zeros(0, dtype=np.int64) for _ in lengths]
    rows = np.arange(n_rows)
    # A column behind the last stands for "no such tag": the -1 of `within`.
    best = np.full((n_rows, n_tags + 1), 2.0 * FLOOR * n_places)
    best[:, :-1] = np.where(continues, best[:, :-1], grid[0])
    back = np.zeros((n_places, n_rows, n_tags), dtype=np.int32)
    last = np.zeros(n_rows, dtype=np.int64)
    first_in, second_in = scheme.within.T
    for place in range(n_places):
        if place:
            end = ends[best[:, ends].argmax(axis=1)]
            one, other = best[:, first_in], best[:, second_in]
            inside = np.where(other > one, second_in, first_in)
            back[place] = np.where(continues, inside, end[:, None])
            before = np.where(continues, np.maximum(one, other), best[rows, end][:, None])
            best[:, :-1] = before + grid[place]
        done = lengths == place + 1
        if done.any():
            last[done] = ends[best[done][:, ends].argmax(axis=1)]
    tags = np.zeros((n_places, n_rows), dtype=np.int64)
    for place in range(n_places - 1, -1, -1):
        followed = back[place + 1, rows, tags[place + 1]] if place + 1 < n_places else last
        tags[place] = np.where(lengths > place + 1, followed, last)
    return [tags[:length, row] for row, length in enumerate(lengths)]


def _means(emissions: Floats, tags: Ints, spans: Sequence[tuple[int, int, int]]) -> list[float]:
    """Mean probability of the tags of each span."""
    chosen = np.exp(emissions[np.arange(len(tags)), tags])
    return [float(chosen[start:end].mean()) for start, end, _ in spans]


def _check(emissions: npt.NDArray[np.floating], scheme: TagScheme) -> Floats:
    """The same in float64, no log-probability below FLOOR."""
    scores = np.asarray(emissions, dtype=np.float64)
    expected = len(scheme.tags)
    if scores.ndim != 2 or scores.shape[1] != expected:  # noqa: PLR2004
        raise DataError(
            f"emissions: found shape {scores.shape}, expected (T, {expected}), a log-probability "
            f"for each of the tags {', '.join(scheme.tags)}."
        )
    if np.isnan(scores).any():
        raise DataError("emissions: found NaN; the model's logits are not finite.")
    return np.maximum(scores, FLOOR)
