"""Which windows go through the encoder together."""

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import AlignmentError


def pack_windows(lengths: npt.ArrayLike, budget: int) -> list[npt.NDArray[np.int64]]:
    """Group windows of similar length under a budget of pieces.

    Longest first, so that the largest batch runs, or fails, at the beginning. Equal lengths keep
    their order, which makes the result a function of the lengths alone.

    Args:
        lengths: (W,) pieces of each window, special pieces included.
        budget: most pieces in one group; a single window above it has a group of its own.

    Returns:
        Window numbers per group, each of 0 .. W - 1 once.

    Raises:
        AlignmentError: the budget is below 1.
    """
    if budget < 1:
        raise AlignmentError(f"budget={budget} pieces holds no window; use 1 or more.")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    filled = np.cumsum(sizes[order])
    groups = []
    start, before = 0, 0
    while start < len(order):
        end = int(np.searchsorted(filled, before + budget, side="right"))
        end = max(end, start + 1)
        groups.append(order[start:end])
        start, before = end, int(filled[end - 1])
    return groups
