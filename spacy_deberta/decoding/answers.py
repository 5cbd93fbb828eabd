"""Start and end logits to answers: one distribution over all spans of all windows and contexts.

    logits of a window ──> band of spans ──> spans of characters ──┐
                                               log-sum-exp of equals │
    logits of a window ──> ...                                     ─┴─> joint: every span once, from
                                               the window that shows most around it; log Z
                                                                      └─> n-best, no answer

With `null="relative"` the score of a span is its log odds against "no answer" in its own window,
start + end - (start + end of [CLS]), so that windows compare although nothing normalizes them
together. With "off" it is start + end, and a span is all there is to choose. A span that several
windows see counts once; adding their scores would make the answer depend on the windows.

Cost: time O(n_pieces * max_answer_len); memory the same in `score_spans`, that of a few windows in
`best_spans`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.decoding.words import word_bounds
from spacy_deberta.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NULLS = ("relative", "off")
_END_BITS = 31  # of the key of a span; a text has fewer characters


@dataclass(frozen=True, eq=False)
class WindowLogits:
    """What the model says about one window of a context.

    Attributes:
        start: (n,) logits of the context's pieces in the window.
        end: (n,) the same for the end.
        null: start + end logit of [CLS].
        char_starts: (n,) first character of each piece in its context.
        char_ends: (n,) one behind its last character; an empty piece is never start or end.
        context: number of the context.
    """

    start: npt.NDArray[np.floating]
    end: npt.NDArray[np.floating]
    null: float
    char_starts: npt.NDArray[np.integer]
    char_ends: npt.NDArray[np.integer]
    context: int = 0


@dataclass(frozen=True)
class SpanOptions:
    """How spans are formed and scored.

    Attributes:
        max_answer_len: most pieces of an answer.
        null: "relative" or "off", see above.
        align_to_words: spans grow to whole words, through word characters only.
        temperature: divides scores before they become probabilities.
    """

    max_answer_len: int = 30
    null: str = "relative"
    align_to_words: bool = True
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.max_answer_len < 1:
            raise DataError(f"max_answer_len={self.max_answer_len}, expected 1 or more pieces.")
        if self.null not in NULLS:
            raise DataError(f"null={self.null!r} is unknown; expected 'relative' or 'off'.")
        if not self.temperature > 0:
            raise DataError(f"temperature={self.temperature}, expected a number above 0.")


@dataclass(frozen=True, eq=False)
class SpanScores:
    """The distribution: every span of characters once, in the order of contexts and texts.

    Attributes:
        context: (M,) number of its context.
        start: (M,) first character.
        end: (M,) one behind the last.
        window: (M,) number of the window that it was scored in.
        score: (M,) log odds against no answer, or start + end, before the temperature.
        log_z: log of the sum of exp(score / temperature), "no answer" (0) included if it competes.
        options: what it was made with.
    """

    context: Ints
    start: Ints
    end: Ints
    window: Ints
    score: Floats
    log_z: float
    options: SpanOptions

    def __len__(self) -> int:
        return len(self.score)

    @property
    def probability(self) -> Floats:
        """(M,) of each span; they and `null_probability` sum to 1."""
        return np.exp(self.score / self.options.temperature - self.log_z)

    @property
    def null_probability(self) -> float:
        """Of no answer; 0 where it does not compete, 1 where there is no span."""
        if self.options.null == "off":
            return 0.0 if len(self) else 1.0
        return float(np.exp(-self.log_z))


@dataclass(frozen=True)
class RankedSpan:
    """One of the n best.

    Attributes:
        index: number of the span in its SpanScores.
        probability: its own.
        mass: with that of the spans that it suppressed.
        twins: further spans of the same text, where these are grouped; `probability` is theirs too.
    """

    index: int
    probability: float
    mass: float
    twins: tuple[int, ...] = ()


def score_spans(
    windows: Sequence[WindowLogits], contexts: Sequence[str], options: SpanOptions
) -> SpanScores:
    """Score every span of every window, each span of characters once.

    Args:
        windows: of all contexts.
        contexts: the texts that characters are counted in.
        options: see there.

    Raises:
        DataError: logits that are not numbers.
    """
    bounds = [word_bounds(text) for text in contexts] if options.align_to_words else None
    parts = [
        _score_window(number, window, None if bounds is None else bounds[window.context], options)
        for number, window in enumerate(windows)
    ]
    found = _join(parts)
    context = np.array([each.context for each in windows], dtype=np.int64)[found[1]]
    kept = _once(found, context)
    keys, window, score, _ = _take(found, kept)
    log_z = float(np.logaddexp(_log_sum(score, options), _null_weight(options)))
    return SpanScores(context[kept], *_characters(keys), window, score, log_z, options)


def best_spans(
    windows: Iterable[WindowLogits], context: str, options: SpanOptions, top_k: int
) -> SpanScores:
    """Score every span of one context, but keep only those that may be among the top_k disjoint.

    `rank_spans` finds in them what it finds in the result of `score_spans`, `mass` aside, which
    misses the spans that are gone; probabilities are those among all spans.

    Args:
        windows: in the order of the text; each is let go before the next is read.
        context: the text.
        options: see there.
        top_k: how many spans are wanted at most.

    Raises:
        DataError: logits that are not numbers.
    """
    bounds = word_bounds(context) if options.align_to_words else None
    n_kept = 1 + max(0, top_k - 1) * 2 * (options.max_answer_len + 1) ** 2
    best, pending, log_z = _join([]), _join([]), _null_weight(options)
    for number, window in enumerate(windows):
        part = _score_window(number, window, bounds, options)
        if not len(part[0]):
            continue
        # no later window begins before this one: spans that do are complete
        complete = pending[0] >> _END_BITS < part[0][0] >> _END_BITS
        ready = _take(pending, complete)
        log_z = float(np.logaddexp(log_z, _log_sum(ready[2], options)))
        best = _settle(best, ready, n_kept)
        pending = _join([_take(pending, ~complete), part])
        pending = _take(pending, _once(pending, np.zeros_like(pending[0])))
    log_z = float(np.logaddexp(log_z, _log_sum(pending[2], options)))
    keys, number_of, score, _ = _settle(best, pending, n_kept)
    return SpanScores(np.zeros_like(keys), *_characters(keys), number_of, score, log_z, options)


def rank_spans(
    scores: SpanScores, top_k: int, overlap: float = 0.0, texts: Sequence[str] | None = None
) -> list[RankedSpan]:
    """The best spans, best first; the earlier in the text of two equals.

    A span that shares more than `overlap` of the shorter one's characters with a better one is
    suppressed, and counts towards the mass of the best such.

    Args:
        scores: the distribution.
        top_k: how many at most.
        overlap: 0 = disjoint spans; 1 = nothing is suppressed.
        texts: the contexts, to group spans of one text (letter case aside) wherever it stands.
    """
    probability, alive = scores.probability, np.ones(len(scores), dtype=bool)
    if overlap >= 1 and texts is None:
        order = np.argsort(-scores.score, kind="stable")[:top_k]
        chances = probability[order].tolist()
        return [RankedSpan(int(i), p, p) for i, p in zip(order, chances, strict=True)]
    ranked: list[RankedSpan] = []
    while len(ranked) < top_k and alive.any():
        best = int(np.argmax(np.where(alive, scores.score, -np.inf)))
        group = [best] if texts is None else _same_text(scores, best, alive, texts)
        own = float(probability[group].sum())
        alive[group] = False
        mass = own
        for index in group:
            beaten = alive & _overlapping(scores, index, overlap)
            mass += float(probability[beaten].sum())
            alive &= ~beaten
        ranked.append(RankedSpan(best, own, mass, tuple(group[1:])))
    return ranked


_Part = tuple[Ints, Ints, Floats, Ints]  # keys, window, score, room: (m,) each


def _score_window(
    number: int, window: WindowLogits, bounds: tuple[Ints, Ints] | None, options: SpanOptions
) -> _Part:
    """The spans of one window; those that are the same characters are put together."""
    start, end = window.start.astype(np.float64), window.end.astype(np.float64)
    n = len(start)
    if not (np.isfinite(start).all() and np.isfinite(end).all() and np.isfinite(window.null)):
        raise DataError(
            f"window {number}: found a logit that is not a finite number. The model's weights or "
            "its precision do not hold; float32 is safe."
        )
    usable = window.char_ends > window.char_starts
    first, last = _band(n, options.max_answer_len)
    inside = usable[first] & usable[last]
    first, last = first[inside], last[inside]
    from_char = window.char_starts.astype(np.int64)
    to_char = window.char_ends.astype(np.int64)
    if bounds is not None and len(bounds[0]):
        from_char = np.where(usable, bounds[0][np.minimum(from_char, len(bounds[0]) - 1)], 0)
        to_char = np.where(usable, bounds[1][np.maximum(to_char - 1, 0)], 0)
    keys = (from_char[first] << _END_BITS) | to_char[last]
    score = start[first] + end[last] - (window.null if options.null == "relative" else 0.0)
    room = np.minimum(first, n - 1 - last)
    order = np.argsort(keys, kind="stable")
    keys, score, room = keys[order], score[order], room[order]
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    if len(begins):
        score = np.logaddexp.reduceat(score, begins)
        room = np.minimum.reduceat(room, begins)
    return keys[begins], np.full(len(begins), number, dtype=np.int64), score, room


def _band(n: int, width: int) -> tuple[Ints, Ints]:
    """All i <= j < i + width below n, by i."""
    counts = np.minimum(np.arange(n, 0, -1, dtype=np.int64), width)
    first = np.repeat(np.arange(n, dtype=np.int64), counts)
    begins = np.cumsum(counts) - counts
    return first, np.arange(len(first), dtype=np.int64) - np.repeat(begins, counts) + first


def _once(found: _Part, context: Ints) -> Ints:
    """Rows of each span once, by context and text: of equals that with most room around it."""
    keys, window, _, room = found
    order = np.lexsort((window, -room, keys, context))  # then that of the earlier window
    keys, context = keys[order], context[order]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = (keys[1:] != keys[:-1]) | (context[1:] != context[:-1])
    return order[is_new]


def _settle(best: _Part, found: _Part, n_kept: int) -> _Part:
    """The best of both, in the order of the text; `found` is behind `best` there.

    A span of at most L pieces overlaps fewer than 2 (L + 1)^2 others: with so many for each one
    that is chosen before, the next one is among them.
    """
    both = _join([best, found])
    return _take(both, np.sort(np.argsort(-both[2], kind="stable")[:n_kept]))


def _take(part: _Part, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> _Part:
    keys, window, score, room = part
    return keys[rows], window[rows], score[rows], room[rows]


def _characters(keys: Ints) -> tuple[Ints, Ints]:
    """First character of each span, and one behind its last."""
    return keys >> _END_BITS, keys & ((1 << _END_BITS) - 1)


def _log_sum(score: Floats, options: SpanOptions) -> float:
    return float(np.logaddexp.reduce(score / options.temperature)) if len(score) else -np.inf


def _null_weight(options: SpanOptions) -> float:
    """Log weight of "no answer" beside that of the spans."""
    return 0.0 if options.null == "relative" else -np.inf


def _join(parts: Sequence[_Part]) -> _Part:
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0), none
    keys, window, score, room = (np.concatenate(column) for column in zip(*parts, strict=True))
    return keys, window, score, room


def _overlapping(scores: SpanScores, index: int, allowed: float) -> npt.NDArray[np.bool_]:
    """(M,) true = shares more than `allowed` of the shorter span's characters with this one."""
    start, end = scores.start[index], scores.end[index]
    shared = np.minimum(scores.end, end) - np.maximum(scores.start, start)
    shorter = np.minimum(scores.end - scores.start, end - start)
    found: npt.NDArray[np.bool_] = (
        (scores.context == scores.context[index]) & (shared > 0) & (shared > allowed * shorter)
    )
    return found


def _same_text(
    scores: SpanScores, best: int, alive: npt.NDArray[np.bool_], texts: Sequence[str]
) -> list[int]:
    """This span and those of the same text, disjoint from it and from each other."""

    def text_of(index: int) -> str:
        return texts[scores.context[index]][scores.start[index] : scores.end[index]].casefold()

    length, text = scores.end[best] - scores.start[best], text_of(best)
    candidates = np.flatnonzero(alive & (scores.end - scores.start == length))
    found = [best]
    ends = {int(scores.context[best]): [(int(scores.start[best]), int(scores.end[best]))]}
    for index in candidates.tolist():
        start, end = int(scores.start[index]), int(scores.end[index])
        taken = ends.setdefault(int(scores.context[index]), [])
        if text_of(index) == text and all(end <= a or b <= start for a, b in taken):
            found.append(index)
            taken.append((start, end))
    return found
