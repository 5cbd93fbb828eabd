"""The training loop: when it ends, and how fast it goes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.loop import RatedModule, RunSettings, train


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    run = RunSettings(steps=10, warmup_steps=4, decay_share=0.5)
    factors = [run.rate_factor(step, step / 10) for step in range(10)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize(
    "changes",
    [{}, {"minutes": float("inf")}, {"steps": 0}, {"minutes": -1}, {"minutes": float("nan")}],
)
def test_a_run_without_an_end_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at least one must be set, above 0"):
        RunSettings(**changes)


def test_each_part_has_its_rate_and_a_shared_parameter_that_of_the_first() -> None:
    """Adam's first step has the size of the rate, whatever the gradient."""
    table, body = nn.Linear(2, 2), nn.ModuleDict({"own": nn.Linear(2, 2)})
    body["table"] = table
    before = {name: p.detach().clone() for name, p in body.named_parameters()}

    def objective(step: int) -> tuple[Tensor, int]:
        return torch.stack([p.sum() for p in body.parameters()]).sum(), 7

    run = RunSettings(steps=1, warmup_steps=1, weight_decay=0.0, grad_clip=1e9)
    log = list(train([RatedModule(table, 0.1), RatedModule(body, 0.01)], objective, run))
    assert [(progress.step, progress.pieces) for progress in log] == [(0, 7)]
    for name, parameter in body.named_parameters():
        rate = 0.1 if name.startswith("table") else 0.01
        moved = (before[name] - parameter.detach()).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, rate), rtol=1e-4, atol=0)
    assert not body.training
