"""What of a text, or of a pair, fits into a length: cut off, or laid out as windows that overlap.

A pair in max_length=10 with its three special pieces, 7 pieces left for it:

    first                 0 1 2        longest_first   0 1 2 | 0 1 2 3
    second    0 1 2 3 4 5 6 7 8        only_second     0 1 2 | 0 1 2 3
    windows of the second, stride=2:   0 1 2 3 | 2 3 4 5 | 4 5 6 7 | 6 7 8
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import TruncationWarning

DO_NOT_TRUNCATE = "do_not_truncate"
LONGEST_FIRST = "longest_first"
ONLY_FIRST = "only_first"
ONLY_SECOND = "only_second"
STRATEGIES = (LONGEST_FIRST, ONLY_FIRST, ONLY_SECOND, DO_NOT_TRUNCATE)
SIDES = ("right", "left")

Range = tuple[int, int]


@dataclass(frozen=True)
class Truncation:
    """How samples are made to fit.

    Attributes:
        strategy: which text of a pair gives way: "longest_first" (pieces of the longer one, then of
            both in turn), "only_first", "only_second", or "do_not_truncate".
        max_length: pieces of a sample, special ones included; None = any number.
        stride: pieces that a window has in common with the one before.
        side: where pieces are cut off, and where windows begin at the other end.
        windows: make what does not fit into further rows.
    """

    strategy: str = DO_NOT_TRUNCATE
    max_length: int | None = None
    stride: int = 0
    side: str = "right"
    windows: bool = False


def fit(lengths: Sequence[int], n_special: int, truncation: Truncation) -> list[list[Range]]:
    """Choose the pieces of each row that a sample becomes: one row, or one for each window.

    Args:
        lengths: number of pieces of the text, or of both texts.
        n_special: number of special pieces in every row.
        truncation: what to do with a sample that is too long.

    Returns:
        For each row and text the range of its pieces.

    Raises:
        TokenizerError: what may be cut off is not enough, or windows would never move on.
    """
    whole = [(0, length) for length in lengths]
    limit = truncation.max_length
    if truncation.strategy == DO_NOT_TRUNCATE or limit is None:
        return [whole]
    excess = sum(lengths) + n_special - limit
    if excess <= 0:
        return [whole]
    _check_room(lengths, n_special, truncation)
    cut = _shares(lengths, excess, truncation.strategy)
    if truncation.windows:
        return _windows(lengths, cut, truncation)
    if truncation.side == "left":
        return [[(c, length) for length, c in zip(lengths, cut, strict=True)]]
    return [[(0, length - c) for length, c in zip(lengths, cut, strict=True)]]


def warn_of_lengths(
    lengths: Sequence[int],
    truncation: Truncation,
    asked: bool | str | None,
    model_max_length: float,
) -> None:
    """Warn of cuts that nobody asked for, of rows beyond what the model takes, of no limit at all.

    Args:
        lengths: of all rows, had nothing been cut, special pieces included.
        truncation: what was done.
        asked: what the caller said about it; None = nothing.
        model_max_length: pieces that the model takes.
    """
    is_cutting = truncation.strategy != DO_NOT_TRUNCATE
    limit = truncation.max_length if is_cutting else model_max_length
    n_long = 0 if limit is None else sum(length > limit for length in lengths)
    found = f"{n_long} of {len(lengths)} text(s) are longer than"
    longest = f"(longest: {max(lengths, default=0)})"
    if limit is None:
        message = (
            f"truncation={asked!r} cuts nothing: neither max_length nor model_max_length is set. "
            "Give max_length."
        )
    elif n_long and not is_cutting:
        message = (
            f"{found} model_max_length={limit} pieces {longest}; nothing was cut off. Pass "
            "truncation=True, or return_overflowing_tokens=True with it for windows."
        )
    elif n_long and asked is None:
        message = (
            f"{found} max_length={limit} pieces {longest} and were cut off. Pass truncation=True "
            "if they should be, truncation=False if not."
        )
    else:
        return
    warnings.warn(message, TruncationWarning, stacklevel=3)


def _check_room(lengths: Sequence[int], n_special: int, truncation: Truncation) -> None:
    """Refuse a length that nothing the strategy allows can reach."""
    strategy, is_pair = truncation.strategy, len(lengths) > 1
    if strategy == ONLY_SECOND and not is_pair:
        raise TokenizerError(
            f"truncation={strategy!r}: a text without a second one is too long. Use "
            f"{ONLY_FIRST!r} or {LONGEST_FIRST!r}."
        )
    kept = 0
    if is_pair and strategy != LONGEST_FIRST:
        kept = lengths[0] if strategy == ONLY_SECOND else lengths[1]
    if n_special + kept > (truncation.max_length or 0):
        other = f" and the {kept} pieces that truncation={strategy!r} keeps" if kept else ""
        raise TokenizerError(
            f"max_length={truncation.max_length}: less than the {n_special} special pieces{other}. "
            "Use a greater max_length or another strategy."
        )
    if truncation.windows and is_pair and strategy == LONGEST_FIRST:
        raise TokenizerError(
            f"return_overflowing_tokens: windows over both texts of a pair at once "
            f"(truncation={strategy!r}) are not defined. Use {ONLY_FIRST!r} or {ONLY_SECOND!r}."
        )


def _shares(lengths: Sequence[int], excess: int, strategy: str) -> list[int]:
    """How many pieces each text gives up."""
    if len(lengths) == 1:
        return [excess]
    if strategy != LONGEST_FIRST:
        return [excess, 0] if strategy == ONLY_FIRST else [0, excess]
    first, second = lengths
    from_longer = min(abs(first - second), excess)
    from_both = excess - from_longer
    # An odd piece is the second text's.
    shares = [from_both // 2, from_both - from_both // 2]
    shares[0 if first > second else 1] += from_longer
    return shares


def _windows(
    lengths: Sequence[int], cut: Sequence[int], truncation: Truncation
) -> list[list[Range]]:
    """Rows with all pieces of the text that does not fit, and every time the whole other one."""
    place = next(i for i, c in enumerate(cut) if c)
    length, room = lengths[place], lengths[place] - cut[place]
    step = room - truncation.stride
    if step < 1:
        raise TokenizerError(
            f"stride={truncation.stride}: windows never move on, for max_length="
            f"{truncation.max_length} leaves room for {room} pieces. Use a stride below {room}."
        )
    n_windows = 1 - (-(length - room) // step)
    starts = [i * step for i in range(n_windows)]
    ranges = [(start, min(start + room, length)) for start in starts]
    if truncation.side == "left":
        ranges = [(length - stop, length - start) for start, stop in ranges]
    rows = [[(0, other) for other in lengths] for _ in ranges]
    for row, found in zip(rows, ranges, strict=True):
        row[place] = found
    return rows
