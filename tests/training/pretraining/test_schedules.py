"""What changes during a run."""

from pathlib import Path

import pytest

from spacy_deberta.training.pretraining import schedules
from spacy_deberta.training.pretraining.settings import (
    BatchSettings,
    OptimizerSettings,
    RunSettings,
)


def test_the_rate_warms_up_stays_and_falls_as_one_minus_sqrt() -> None:
    optimizer = OptimizerSettings(warmup_steps=4, decay_share=0.4)
    factors = [schedules.rate_factor(optimizer, step, step / 10) for step in range(11)]
    fall = [1 - (part / 4) ** 0.5 for part in range(5)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, *fall])


def test_without_decay_and_warm_up_the_rate_stays() -> None:
    optimizer = OptimizerSettings(warmup_steps=0, decay_share=0)
    assert {schedules.rate_factor(optimizer, step, step / 5) for step in range(6)} == {1.0}


def test_the_share_of_masks_falls_linearly() -> None:
    batches = BatchSettings(mask_from=0.3, mask_to=0.1)
    found = [schedules.mask_share(batches, share) for share in (0, 0.5, 1, 1.1)]
    assert found == pytest.approx([0.3, 0.2, 0.1, 0.1])


def test_batches_grow_linearly() -> None:
    batches = BatchSettings(pieces=100, ramp_from=20, ramp_steps=4)
    found = [schedules.batch_pieces(batches, step) for step in range(6)]
    assert found == [20, 40, 60, 80, 100, 100]
    assert schedules.batch_pieces(BatchSettings(pieces=50, ramp_from=1), 0) == 50


def test_windows_grow_by_share() -> None:
    batches = BatchSettings(windows=((0.7, 128), (0.2, 256), (0.1, 512)))
    found = [schedules.window(batches, step / 10) for step in range(11)]
    assert found == [128] * 7 + [256] * 2 + [512] * 2


def test_a_run_is_measured_by_steps_or_by_time(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert schedules.share_done(RunSettings(out=out, steps=8), 2, 999.0) == 0.25
    assert schedules.share_done(RunSettings(out=out, minutes=2), 999, 30.0) == 0.25
