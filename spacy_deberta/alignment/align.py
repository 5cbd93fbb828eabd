"""Which pieces make up a token: those that share a character with it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import AlignmentError

Ints = npt.NDArray[np.int64]
AnyInts = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class TokenAlignment:
    """Token to pieces, as CSR.

    Shapes: pieces (M,) int64, ascending within a token; lengths (n_tokens,) int64, sum M.
    A piece over several tokens stands in each; whitespace tokens have length 0.
    """

    pieces: Ints
    lengths: Ints

    def coverage(self, is_space: npt.NDArray[np.bool_]) -> float:
        """Share of the tokens that are not whitespace and have a piece; 1.0 if there are none.

        Args:
            is_space: (n_tokens,), true for whitespace tokens.
        """
        if len(is_space) != len(self.lengths):
            raise AlignmentError(
                f"is_space has {len(is_space)} tokens, the alignment {len(self.lengths)}"
            )
        visible = self.lengths[~is_space]
        return float((visible > 0).mean()) if len(visible) else 1.0


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Token to rows of the encoder's output, as CSR.

    Shapes: rows (M,) int64; lengths (n_tokens,) int64, sum M.
    """

    rows: Ints
    lengths: Ints


def align_tokens(
    token_starts: AnyInts, token_ends: AnyInts, piece_starts: AnyInts, piece_ends: AnyInts
) -> TokenAlignment:
    """Align tokens and pieces of one text by character overlap.

    Args:
        token_starts: (T,) first character of each token; tokens are in order and do not overlap.
        token_ends: (T,) one behind the last character.
        piece_starts: (N,) the same for the pieces, whose spans may overlap and may be empty: an
            empty span belongs to no token.
        piece_ends: (N,).

    Raises:
        AlignmentError: tokens overlap, are out of order, or lengths differ.
    """
    _check_spans(token_starts, token_ends, piece_starts, piece_ends)
    # Empty tokens take part in the search but never in the result.
    first = np.searchsorted(token_ends, piece_starts, side="right")
    behind = np.searchsorted(token_starts, piece_ends, side="left")
    counts = np.where(piece_starts < piece_ends, np.maximum(behind - first, 0), 0)
    pieces = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(pieces)) - np.repeat(np.cumsum(counts) - counts, counts)
    tokens = np.repeat(first, counts) + within
    filled = (token_ends > token_starts)[tokens]
    pieces, tokens = pieces[filled], tokens[filled]
    order = np.argsort(tokens, kind="stable")
    lengths = np.bincount(tokens, minlength=len(token_starts))
    return TokenAlignment(pieces[order].astype(np.int64), lengths.astype(np.int64))


def token_rows(alignment: TokenAlignment, rows: Ints) -> TokenRows:
    """Compose token to pieces with piece to row.

    Args:
        alignment: of one text with N pieces.
        rows: (N,) row of each piece in the encoder's output, as of `merge_windows`, plus the place
            of this text's windows in the batch.
    """
    return TokenRows(rows[alignment.pieces], alignment.lengths)


def _check_spans(
    token_starts: AnyInts, token_ends: AnyInts, piece_starts: AnyInts, piece_ends: AnyInts
) -> None:
    if len(token_starts) != len(token_ends) or len(piece_starts) != len(piece_ends):
        raise AlignmentError(
            f"{len(token_starts)} token starts and {len(token_ends)} ends, {len(piece_starts)} "
            f"piece starts and {len(piece_ends)} ends: each pair must have one length"
        )
    wrong = np.flatnonzero(token_starts[1:] < token_ends[:-1])
    if len(wrong):
        i = int(wrong[0])
        raise AlignmentError(
            f"token {i + 1} starts at character {token_starts[i + 1]}, before token {i} ends at "
            f"{token_ends[i]}; tokens must be in order and must not overlap"
        )
