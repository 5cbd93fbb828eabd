r"""What changes during a run: rate, share of masks, size of batches and windows. Pure functions.

rate     /------------------\_       warm-up by steps, flat, then 1 - sqrt by share of the run
pieces   /---------------------       ramp by steps
window   128 ........... 256 .. 512    by share of the run
"""

from __future__ import annotations

import math

from spacy_deberta.training.pretraining.settings import (
    BatchSettings,
    OptimizerSettings,
    RunSettings,
)


def share_done(run: RunSettings, step: int, seconds: float) -> float:
    """How much of the run lies behind it; 1 or more = all.

    Args:
        run: its length in steps or minutes.
        step: steps done.
        seconds: spent on them, in all processes that the run has had.
    """
    if run.steps is not None:
        return step / run.steps
    return seconds / (60 * (run.minutes or math.inf))


def rate_factor(optimizer: OptimizerSettings, step: int, share: float) -> float:
    """Factor on the peak rate of the step number `step`, counted from 0."""
    warm = min(1.0, (step + 1) / max(1, optimizer.warmup_steps))
    if not optimizer.decay_share:
        return warm
    fallen = max(0.0, (share - (1 - optimizer.decay_share)) / optimizer.decay_share)
    return warm * (1 - math.sqrt(min(1.0, fallen)))


def mask_share(batches: BatchSettings, share: float) -> float:
    """Share of words to predict, linear over the run."""
    return batches.mask_from + (batches.mask_to - batches.mask_from) * min(1.0, share)


def batch_pieces(batches: BatchSettings, step: int) -> int:
    """Pieces of the step number `step`, counted from 0."""
    if step >= batches.ramp_steps:
        return batches.pieces
    grown = (batches.pieces - batches.ramp_from) * step / batches.ramp_steps
    return batches.ramp_from + round(grown)


def window(batches: BatchSettings, share: float) -> int:
    """Pieces of a window at this share of the run."""
    end = 0.0
    for part, length in batches.windows:
        end += part
        if share < end - 1e-9:  # 0.7 + 0.2 is a little less than 0.9
            return length
    return batches.windows[-1][1]
