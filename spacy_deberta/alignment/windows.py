"""Cut a long text into overlapping windows and put it together again.

pieces      0 1 2 3 4 5 6 7 8 9          window=8 (six pieces, [CLS] and [SEP]), stride=4
window 0    0 1 2 3 4 5
window 1            4 5 6 7 8 9
taken from  0 0 0 0 0 1 1 1 1 1          the window where the piece has most context
row         1 2 3 4 5 10 ...             in [CLS] 0 1 2 3 4 5 [SEP] [CLS] 4 5 ... [SEP]
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import AlignmentError

Ints = npt.NDArray[np.int64]
AnyInts = npt.NDArray[np.integer]

N_SPECIAL = 2  # [CLS] and [SEP] around each window


@dataclass(frozen=True, eq=False)
class Windows:
    """Ranges of one text's pieces; both starts and ends strictly increase.

    Shapes: starts, ends: (W,) int64. Window w holds the pieces starts[w]:ends[w].
    """

    starts: Ints
    ends: Ints

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Ints:
        """(W,) length of each window with [CLS] and [SEP]."""
        return self.ends - self.starts + N_SPECIAL

    @property
    def offsets(self) -> Ints:
        """(W,) row of each window's [CLS] when the windows are laid one after another."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def n_pieces(self) -> int:
        """Number of pieces of the text."""
        return int(self.ends[-1]) if len(self.ends) else 0


def split_windows(n_pieces: int, *, window: int, stride: int) -> Windows:
    """Cover a text by windows; the last one ends at the text's end.

    A text that fits has one window, a text without pieces none. Windows start every `stride`
    pieces, and there is no window whose pieces are all in the one before.

    Args:
        n_pieces: pieces of the text, without special pieces.
        window: length of the longest window, [CLS] and [SEP] included.
        stride: pieces from one window's start to the next; window - 2 - stride pieces overlap.

    Raises:
        AlignmentError: window or stride leave no way to cover the text.
    """
    room = window - N_SPECIAL
    if room < 1:
        raise AlignmentError(
            f"window={window} leaves no room for pieces beside [CLS] and [SEP]; use window >= 3."
        )
    if not 1 <= stride <= room:
        problem = "never moves on" if stride < 1 else "would skip pieces between windows"
        raise AlignmentError(
            f"stride={stride} {problem} with window={window}: [CLS] and [SEP] leave room for "
            f"{room} pieces. Use a stride from 1 to {room}, for example {max(1, room * 3 // 4)}."
        )
    if n_pieces < 0:
        raise AlignmentError(f"n_pieces={n_pieces}; a text cannot have fewer than 0 pieces.")
    n_windows = 0 if n_pieces == 0 else 1 + max(0, -(-(n_pieces - room) // stride))
    starts = np.arange(n_windows, dtype=np.int64) * stride
    return Windows(starts, np.minimum(starts + room, n_pieces))


def merge_windows(windows: Windows) -> Ints:
    """Choose for each piece the row to take from the encoder's output.

    Returns:
        (n_pieces,) row within the text's windows, laid one after another, each [CLS] pieces [SEP].

    A piece's context in a window is its distance to the nearer end; the window with most context
    wins, the earlier of two equals. For neighbours that overlap from s to e (exclusive), context
    falls in the first and rises in the second, and the pieces up to (s + e - 1) // 2 belong to the
    first: one cut per pair of neighbours decides everything.
    """
    if not len(windows):
        return np.zeros(0, dtype=np.int64)
    cuts = (windows.ends[:-1] - 1 + windows.starts[1:]) // 2 + 1
    counts = np.diff(cuts, prepend=0, append=windows.n_pieces)
    first_rows = windows.offsets + 1 - windows.starts  # row of piece 0, were it in the window
    return np.arange(windows.n_pieces, dtype=np.int64) + np.repeat(first_rows, counts)


def window_pieces(ids: AnyInts, windows: Windows, cls_id: int, sep_id: int) -> Ints:
    """Lay the pieces of all windows one after another, each [CLS] pieces [SEP].

    Args:
        ids: (n_pieces,) pieces of the text.
        windows: of the same text.
        cls_id: number of [CLS].
        sep_id: number of [SEP].

    Returns:
        (sum of windows.lengths,) piece numbers.
    """
    if len(ids) != windows.n_pieces:
        raise AlignmentError(f"{len(ids)} pieces, but windows over {windows.n_pieces}")
    lengths, offsets = windows.lengths, windows.offsets
    source = np.arange(int(lengths.sum())) + np.repeat(windows.starts - 1 - offsets, lengths)
    is_piece = np.ones(len(source), dtype=bool)
    is_piece[offsets] = is_piece[offsets + lengths - 1] = False
    laid = np.empty(len(source), dtype=np.int64)
    laid[is_piece] = ids[source[is_piece]]
    laid[offsets] = cls_id
    laid[offsets + lengths - 1] = sep_id
    return laid
