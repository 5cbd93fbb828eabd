"""What the logits of masked pieces mean: candidates, whole words, several masks together.

    logits (M, V) ── log_probabilities ──> log p of each piece        pieces that no text has: -inf
                                             │
           one piece per mask                │             words of several pieces
           best_pieces ──────────────────────┴──── chain_steps, chain_words
                                 │
                            MaskScores ── fill_jointly: several masks, a beam

A word of n pieces is scored on n masks, which are filled from left to right:

    the [MASK] [MASK]      log p(▁na)
    the ▁na    [MASK]      log p(ive | ▁na)          log p of the word is their sum

Several masks are filled one after another in the same way; the order is chosen by the beam, so the
score of a filling is the chain of conditionals along that order, not a joint probability.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import ConfigError

Floats = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Order = Literal["confidence", "left_to_right"]
Filling = tuple[tuple[int, ...] | None, ...]  # the pieces in each mask; None = still a mask

EXPANSION = 2  # candidates of a mask that each beam tries, in beam widths


@dataclass(frozen=True)
class Candidate:
    """What may stand in a mask.

    Attributes:
        pieces: ids, one or more.
        log_prob: natural logarithm of its probability.
    """

    pieces: tuple[int, ...]
    log_prob: float


@dataclass(frozen=True)
class MaskScores:
    """The candidates of one mask.

    Attributes:
        candidates: best first.
        entropy: of the distribution they are from, in nats; low = the model is sure.
    """

    candidates: tuple[Candidate, ...]
    entropy: float


@dataclass(frozen=True)
class JointFilling:
    """What may stand in all masks of a text at once.

    Attributes:
        pieces: ids in each mask, in the text's order.
        log_prob: the sum along the order in which they were filled.
    """

    pieces: tuple[tuple[int, ...], ...]
    log_prob: float


@dataclass(frozen=True)
class ChainStep:
    """One row to score: a mask widened to several, the first of them filled.

    Attributes:
        length: pieces of the word.
        filled: ids of its first pieces; the next one is to be scored.
    """

    length: int = 1
    filled: tuple[int, ...] = ()


def allowed_pieces(n_rows: int, names: Sequence[str], special: Collection[str]) -> Bool:
    """Which rows of the output layer are text.

    Args:
        n_rows: of the output layer, V; released checkpoints have more rows than pieces.
        names: of the tokenizer's pieces, by number.
        special: names that are no text, such as [CLS].

    Returns:
        (V,) bool, true = may be predicted.
    """
    allowed = np.zeros(n_rows, dtype=bool)
    known = [name not in special for name in names[:n_rows]]
    allowed[: len(known)] = known
    return allowed


def log_probabilities(logits: npt.NDArray[np.floating], allowed: Bool | None = None) -> Floats:
    """Logarithms of the softmax over the allowed pieces.

    Args:
        logits: (M, V).
        allowed: (V,) bool, true = may be predicted; None = every row.

    Returns:
        (M, V) float32, -inf where nothing may be predicted.
    """
    scores = np.array(logits, dtype=np.float32)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return scores


def best_pieces(log_probs: Floats, n: int) -> tuple[Candidate, ...]:
    """The most probable pieces of one mask.

    Args:
        log_probs: (V,); those of -inf are left out.
        n: how many at most.

    Returns:
        Best first; of equal ones the lower id.
    """
    n = min(n, len(log_probs))
    if n < 1:
        return ()
    threshold = np.partition(log_probs, len(log_probs) - n)[len(log_probs) - n]
    found = np.flatnonzero((log_probs >= threshold) & (log_probs > -np.inf))
    ordered = found[np.argsort(-log_probs[found], kind="stable")][:n]
    return tuple(Candidate((int(number),), float(log_probs[number])) for number in ordered)


def entropy(log_probs: npt.NDArray[np.floating]) -> float:
    """Entropy in nats of a distribution, (V,) logarithms, -inf = impossible."""
    possible = log_probs[log_probs > -np.inf].astype(np.float64)
    return float(-(np.exp(possible) * possible).sum())


def chain_steps(words: Iterable[Sequence[int]]) -> dict[ChainStep, tuple[int, ...]]:
    """The rows that score some words, shared by words that begin alike and are as long.

    Args:
        words: ids of each word's pieces, at least one.

    Returns:
        For each row the ids whose probability is needed there.
    """
    steps: dict[ChainStep, dict[int, None]] = {}
    for word in words:
        for place, piece in enumerate(word):
            step = ChainStep(len(word), tuple(word[:place]))
            steps.setdefault(step, {})[piece] = None
    return {step: tuple(pieces) for step, pieces in steps.items()}


def chain_words(
    words: Iterable[Sequence[int]],
    scores: Mapping[ChainStep, Mapping[int, float]],
    *,
    mean: bool = False,
) -> MaskScores:
    """Score whole words from the rows of `chain_steps`.

    Args:
        words: ids of each word's pieces.
        scores: log p of the next piece in each row.
        mean: take the mean over a word's pieces, not the sum, so that longer words are not worse
            for their length alone.

    Returns:
        Best first, equal ones in the given order; the entropy is that among these words.
    """
    found = []
    for word in words:
        steps = (ChainStep(len(word), tuple(word[:place])) for place in range(len(word)))
        log_prob = sum(scores[step][piece] for step, piece in zip(steps, word, strict=True))
        found.append(Candidate(tuple(word), log_prob / len(word) if mean else log_prob))
    candidates = tuple(sorted(found, key=lambda candidate: -candidate.log_prob))
    shares = np.asarray(relative_shares([candidate.log_prob for candidate in candidates]))
    with np.errstate(divide="ignore"):
        return MaskScores(candidates, entropy(np.log(shares)))


def relative_shares(log_probs: Sequence[float]) -> list[float]:
    """The shares of some candidates among themselves, adding up to 1."""
    if not log_probs:
        return []
    values = np.exp(np.asarray(log_probs, dtype=np.float64) - max(log_probs))
    return [float(share) for share in values / values.sum()]


def fill_jointly(
    first: Sequence[MaskScores],
    score: Callable[[Sequence[Filling]], Sequence[Mapping[int, MaskScores]]],
    *,
    width: int = 8,
    order: Order = "confidence",
) -> list[JointFilling]:
    """Fill all masks of a text, each knowing what stands in those filled before it.

    Args:
        first: scores of each mask while all are masks.
        score: called for the next masks: for each partial filling the scores of each mask that is
            still one, by its number.
        width: partial fillings that are kept after each step.
        order: fill the mask of least entropy next, or the leftmost.

    Returns:
        At most `width`, best first; M masks take M - 1 calls of `score`.

    Raises:
        ConfigError: a width or an order that cannot be.
    """
    check_beam(width, order)
    beams = [JointFilling((), 0.0)]
    open_fillings: list[Filling] = [(None,) * len(first)]
    scores: Sequence[Mapping[int, MaskScores]] = [dict(enumerate(first))]
    for _ in first:
        grown: dict[Filling, float] = {}
        for beam, filling, found in zip(beams, open_fillings, scores, strict=True):
            mask = _next_mask(found, order)
            for candidate in found[mask].candidates[: EXPANSION * width]:
                new = (*filling[:mask], candidate.pieces, *filling[mask + 1 :])
                log_prob = beam.log_prob + candidate.log_prob
                grown[new] = max(log_prob, grown.get(new, -np.inf))
        kept = sorted(grown, key=lambda filling: -grown[filling])[:width]
        beams = [JointFilling(tuple(word or () for word in new), grown[new]) for new in kept]
        open_fillings = kept
        scores = score(kept) if kept and None in kept[0] else ()
    return beams


def check_beam(width: int, order: str) -> None:
    """Refuse a beam that cannot be.

    Raises:
        ConfigError: naming the setting and what it may be.
    """
    if width < 1:
        raise ConfigError(f"beam={width} keeps no filling; expected 1 or more.")
    if order not in get_args(Order):
        accepted = ", ".join(map(repr, get_args(Order)))
        raise ConfigError(f"order={order!r} is unknown; supported: {accepted}.")


def _next_mask(scores: Mapping[int, MaskScores], order: str) -> int:
    if order == "left_to_right":
        return min(scores)
    return min(scores, key=lambda mask: (scores[mask].entropy, mask))
