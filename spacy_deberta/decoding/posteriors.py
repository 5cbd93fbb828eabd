"""Forward-backward over legal sequences of tags, and what it says of spans.

For a span of type x from place i to place j, the legal sequences that hold exactly it are a path
of tags inside, anything legal before that does not run into it, and anything legal behind that does
not go on with it. Its log-mass is the sum

    opening[i, x] + inner[i + 1, x] + ... + inner[j - 1, x] + closing[j, x]        i < j
    single[i, x]                                                                   i = j

with all that lies before in `opening` and all behind in `closing`. Prefix sums of `inner` make it
O(1) for any span.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spacy_deberta.decoding.scheme import TagScheme

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLOOR = -1e4  # of a log-probability: its exponential is 0, and sums of it stay exact

_NEVER = -1e30  # the logarithm of no mass at all; finite, so that differences are no NaN
_TINIEST = 1e-300


@dataclass(frozen=True, eq=False)
class SpanPosteriors:
    """The terms of the module's formula for one sequence; all (T, X) but `total`.

    Attributes:
        opening: log-mass up to a span's first tag.
        summed: sums of `inner` up to a place, it included.
        closing: log-mass from a span's last tag.
        single: log-mass of a span of one place.
        total: log-mass of all legal sequences.
    """

    opening: Floats
    summed: Floats
    closing: Floats
    single: Floats
    total: float

    def of(self, spans: Ints) -> Floats:
        """The posteriors of spans (N, 3): start, end (exclusive), type."""
        if not len(spans):
            return np.zeros(0)
        first, last, kind = spans[:, 0], spans[:, 1] - 1, spans[:, 2]
        before = np.maximum(last - 1, first)
        inside = self.summed[before, kind] - self.summed[first, kind]
        long = self.opening[first, kind] + inside + self.closing[last, kind]
        mass = np.where(first == last, self.single[first, kind], long)
        return np.exp(np.minimum(mass - self.total, 0.0))

    def above(self, threshold: float, longest: int) -> list[tuple[int, int, int, float]]:
        """Start, end, type and posterior of all spans that reach the threshold."""
        n_places, n_types = self.single.shape
        starts, kinds = np.divmod(np.arange(n_places * n_types), max(n_types, 1))
        found: list[tuple[int, int, int, float]] = []
        for length in range(1, min(longest, n_places) + 1):
            fits = starts + length <= n_places
            spans = np.stack([starts, starts + length, kinds], axis=1)[fits]
            scores = self.of(spans)
            kept = scores >= threshold
            found += [
                (*span, score)
                for span, score in zip(spans[kept].tolist(), scores[kept].tolist(), strict=True)
            ]
        return sorted(found, key=lambda each: (each[0], -each[1], each[2]))


def span_posteriors(grid: Floats, lengths: Ints, scheme: TagScheme) -> list[SpanPosteriors]:
    """Of every sequence in a padded grid (T, B, K) of log-probabilities; lengths are (B,)."""
    masses = _Masses(grid, lengths, scheme)
    return [
        _terms(masses, row, int(length), scheme) if length else _nothing(scheme)
        for row, length in enumerate(lengths)
    ]


class _Masses:
    """Log-masses of prefixes and suffixes; a column behind the last stands for "no such tag".

    Attributes:
        emitted: (T, B, K + 1) the emissions.
        ahead: (T, B, K + 1) of all legal prefixes that end with a tag here, it included.
        before: (T + 1, B) of all prefixes up to a place after which a span may begin.
        suffix: (T, B, K + 1) of all legal suffixes that begin with a tag here, it included.
        behind: (T + 1, B) of all suffixes from a place on that continue nothing.
    """

    def __init__(self, grid: Floats, lengths: Ints, scheme: TagScheme) -> None:
        n_places, n_rows, n_tags = grid.shape
        self.emitted = np.full((n_places, n_rows, n_tags + 1), _NEVER)
        self.emitted[..., :-1] = grid
        self.ahead = np.full_like(self.emitted, _NEVER)
        self.suffix = np.full_like(self.emitted, _NEVER)
        self.before = np.zeros((n_places + 1, n_rows))
        self.behind = np.zeros((n_places + 1, n_rows))
        self._forward(scheme)
        self._backward(scheme, lengths)

    def _forward(self, scheme: TagScheme) -> None:
        continues, ends = scheme.continues, np.flatnonzero(scheme.ends)
        first_in, second_in = scheme.within.T
        inside: Any = _NEVER
        for place in range(len(self.emitted)):
            mass = np.where(continues, inside, self.before[place][:, None])
            ahead = self.ahead[place]
            ahead[:, :-1] = mass + self.emitted[place, :, :-1]
            self.before[place + 1] = _log_sum(ahead[:, ends])
            inside = np.logaddexp(ahead[:, first_in], ahead[:, second_in])

    def _backward(self, scheme: TagScheme, lengths: Ints) -> None:
        begins = np.flatnonzero(~scheme.continues)
        goes_on = _goes_on(scheme)
        one, other = goes_on.T
        for place in range(len(self.emitted) - 1, -1, -1):
            mass = np.where(scheme.ends, self.behind[place + 1][:, None], _NEVER)
            if place + 1 < len(self.emitted):
                after = self.suffix[place + 1]
                further = np.logaddexp(after[:, one], after[:, other])
                mass = np.where((lengths > place + 1)[:, None], np.logaddexp(mass, further), mass)
            suffix = self.suffix[place]
            suffix[:, :-1] = mass + self.emitted[place, :, :-1]
            is_there = lengths > place
            self.behind[place] = np.where(is_there, _log_sum(suffix[:, begins]), 0.0)


def _goes_on(scheme: TagScheme) -> Ints:
    """(K, 2) the tags that may follow a tag only because they are of its type; -1 = none."""
    if not scheme.types:
        return np.full((len(scheme.tags), 2), -1)
    inner, last, again = (scheme.tag_of[role] for role in "ILB")
    none = np.full_like(inner, -1)
    of_type = np.where(
        scheme.runs[:, None], np.stack([again, none], axis=1), np.stack([inner, last], axis=1)
    )
    is_inside = np.array([role in "BI" for role in scheme.roles])
    return np.where(is_inside[:, None], of_type[scheme.type_of], -1)


def _terms(masses: _Masses, row: int, length: int, scheme: TagScheme) -> SpanPosteriors:
    """The terms of one sequence; see the module."""
    emitted, ahead = masses.emitted[:length, row], masses.ahead[:length, row]
    begin, inner, last, single = (emitted[:, scheme.tag_of[role]] for role in "BILU")
    before = masses.before[:length, row][:, None]
    behind = masses.behind[1 : length + 1, row][:, None]
    tag_b, tag_i = scheme.tag_of["B"], scheme.tag_of["I"]
    runs, has_last = scheme.runs, (scheme.tag_of["L"] >= 0) & ~scheme.runs

    # Runs: an I begins a span only behind another type, and goes on with it before its own.
    own = np.full_like(begin, _NEVER)
    own[1:] = np.logaddexp(ahead[:-1, tag_b], ahead[:-1, tag_i])
    run_opening = np.logaddexp(_log_difference(before, own) + inner, own + begin)
    suffix = masses.suffix[1:length, row]
    next_i, next_b = np.full_like(begin, _NEVER), np.full_like(begin, _NEVER)
    next_i[:-1], next_b[:-1] = suffix[:, tag_i], suffix[:, tag_b]
    run_behind = np.logaddexp(_log_difference(behind, next_i), next_b)

    opening = np.where(runs, run_opening, before + begin)
    leaving = np.where(runs, run_behind, behind)
    closing = np.where(has_last, last, inner) + leaving
    alone = np.where(has_last, _NEVER, opening + leaving)
    return SpanPosteriors(
        opening=opening,
        summed=np.cumsum(np.maximum(inner, FLOOR), axis=0),
        closing=closing,
        single=np.logaddexp(alone, np.where(runs, _NEVER, before + single + behind)),
        total=float(masses.before[length, row]),
    )


def _nothing(scheme: TagScheme) -> SpanPosteriors:
    none = np.zeros((0, len(scheme.types)))
    return SpanPosteriors(none, none, none, none, 0.0)


def _log_sum(values: Floats) -> Floats:
    """Log sum exp over the last axis."""
    most = values.max(axis=-1)
    summed: Floats = most + np.log(np.exp(values - most[..., None]).sum(axis=-1))
    return summed


def _log_difference(whole: Floats, part: Floats) -> Floats:
    """log(exp(whole) - exp(part)); what cancels is below 1e-15 of the whole."""
    rest = -np.expm1(np.minimum(part - whole, 0.0))
    difference: Floats = whole + np.log(np.maximum(rest, _TINIEST))
    return difference
