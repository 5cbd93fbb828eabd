"""The loop: what a step does, what is logged, and that a run goes on as if it had not stopped."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.pretraining import log as log_module
from spacy_deberta.training.pretraining.guard import OK, SKIPPED, SPIKE, Guard
from spacy_deberta.training.pretraining.log import RunLog, plot_log, read_log
from spacy_deberta.training.pretraining.signals import StopRequest
from spacy_deberta.training.pretraining.updates import Gradients, Updater
from tests.training.pretraining.toy import (
    ToyObjective,
    same_bits,
    timeless,
    toy_run,
    toy_settings,
    toy_trainer,
    toy_weights,
)


def steps_of(out: Path) -> list[dict[str, Any]]:
    return [record for record in read_log(out / "log.jsonl") if record["event"] != "evaluation"]


def test_a_run_learns_logs_evaluates_and_saves(tmp_path: Path) -> None:
    ended, said = toy_run(
        tmp_path, run__steps=60, run__checkpoint_steps=30, optimizer__learn_rate=0.2
    )
    assert ended
    steps = steps_of(tmp_path)
    assert [record["step"] for record in steps] == list(range(1, 61))
    assert steps[-1]["losses"]["toy"] < steps[0]["losses"]["toy"] - 0.5
    assert steps[-1]["pieces"] == 12 + 12 + 18 + 18 + 56 * 24
    scores = [r for r in read_log(tmp_path / "log.jsonl") if r["event"] == "evaluation"]
    assert [record["step"] for record in scores] == list(range(5, 61, 5))
    assert scores[-1]["scores"]["toy_nats"] < scores[0]["scores"]["toy_nats"]
    assert "ema_toy_nats" in scores[0]["scores"]
    assert "step 60: toy_nats" in said
    assert "loss toy" in said
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000030", "step-00000060"]


def test_the_first_step_is_adams_with_rates_by_part_and_clipped_gradients(tmp_path: Path) -> None:
    """Adam's first step has the size of the rate, whatever the gradient."""
    changes = {"optimizer__warmup_steps": 1, "optimizer__grad_clip": 1e-3}
    settings = toy_settings(tmp_path, run__steps=1, optimizer__weight_decay=0.0, **changes)
    objective = ToyObjective()
    before = {name: p.detach().clone() for name, p in objective.named()}
    trainer, _ = toy_trainer(settings, objective)
    with StopRequest() as stop:
        trainer.run(stop)
    for name, parameter in objective.named():
        rate = 0.05 if name == "table.weight" else 0.025
        moved = (before[name] - parameter.detach()).abs()
        largest = moved.max().item()
        assert largest == pytest.approx(rate, rel=1e-3), name
    norms = steps_of(tmp_path)[0]["norms"]
    assert set(norms) == {"table", "out"}
    assert min(norms.values()) > 1e-3
    for part, names in (("table", ["table.weight"]), ("out", ["out.weight", "out.bias"])):
        grads = [dict(objective.named())[name].grad for name in names]
        clipped = torch.cat([grad.flatten() for grad in grads if grad is not None]).norm()
        assert clipped.item() == pytest.approx(1e-3, rel=1e-4), part


def test_only_matrices_decay() -> None:
    objective = ToyObjective()
    settings = toy_settings(Path("x"), optimizer__weight_decay=0.5, optimizer__learn_rate=0.1)
    gradients = Gradients(objective, torch.device("cpu"))
    updater = Updater(objective, gradients, settings.optimizer, 0.0)
    before = {name: p.detach().clone() for name, p in objective.named()}
    updater.update(1.0, 0)  # with gradients of zeros
    for name, parameter in objective.named():
        factor = 1 - 0.05 * 0.5 if name == "out.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_micro_batches_do_not_change_the_result(tmp_path: Path) -> None:
    whole = ToyObjective(dropout=0.0)
    cut = ToyObjective(dropout=0.0)
    for name, objective, pieces in (("a", whole, 1000), ("b", cut, 6)):
        settings = toy_settings(tmp_path / name, data__micro_pieces=pieces)
        trainer, _ = toy_trainer(settings, objective)
        with StopRequest() as stop:
            trainer.run(stop)
    assert cut.calls > 2 * whole.calls
    for first, second in zip(whole.module.parameters(), cut.module.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_the_running_mean_follows_the_weights(tmp_path: Path) -> None:
    objective = ToyObjective()
    trainer, _ = toy_trainer(toy_settings(tmp_path, run__steps=1, run__ema=0.9), objective)
    before = objective.model.table.weight.detach().clone()
    with StopRequest() as stop:
        trainer.run(stop)
    after = objective.model.table.weight.detach()
    expected = 0.1 * before + 0.9 * after  # the first update: 1 / 10 of the past
    torch.testing.assert_close(toy_weights(tmp_path, "model-ema")["table.weight"], expected)
    assert toy_weights(tmp_path)["table.weight"].equal(after)


def test_the_same_settings_give_the_same_bits(tmp_path: Path) -> None:
    toy_run(tmp_path / "a")
    toy_run(tmp_path / "b")
    toy_run(tmp_path / "c", run__seed=1)
    assert same_bits(tmp_path / "a", tmp_path / "b")
    assert not same_bits(tmp_path / "a", tmp_path / "c")


def test_a_run_that_fails_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Also where the log was broken off in the middle of a line."""
    toy_run(tmp_path / "whole")
    for last in (9, 16, 2):

        def fail(call: int, last: int = last) -> float:
            if call > last:
                raise OSError("the machine is gone")
            return 1.0

        with pytest.raises(OSError, match="gone"):
            toy_run(tmp_path / "cut", fail)
        with (tmp_path / "cut" / "log.jsonl").open("a") as file:
            file.write('{"step": 3, "ev')
    toy_run(tmp_path / "cut")
    assert same_bits(tmp_path / "whole", tmp_path / "cut")


def test_more_steps_can_be_added(tmp_path: Path) -> None:
    toy_run(tmp_path, run__steps=4)
    toy_run(tmp_path, run__steps=9)
    assert steps_of(tmp_path)[-1]["step"] == 9
    before = toy_weights(tmp_path)
    _, said = toy_run(tmp_path, run__steps=9)
    assert "going on from here" in said
    assert all(tensor.equal(before[name]) for name, tensor in toy_weights(tmp_path).items())
    assert len({record["step"] for record in steps_of(tmp_path)}) == len(steps_of(tmp_path))


@pytest.mark.parametrize(("steps", "logged"), [(3, [3]), (10, [5, 10]), (11, [5, 10, 11])])
def test_the_last_step_is_logged_whatever_its_number(
    tmp_path: Path, steps: int, logged: list[int]
) -> None:
    toy_run(tmp_path, run__steps=steps, run__log_steps=5)
    assert [record["step"] for record in steps_of(tmp_path)] == logged


def test_a_run_of_minutes_ends_by_time(tmp_path: Path) -> None:
    ended, _ = toy_run(tmp_path, run__steps=None, run__minutes=0.3 / 60, evaluation__every_steps=0)
    assert ended
    assert steps_of(tmp_path)[-1]["seconds"] >= 0.2


# --- steps that give no number ------------------------------------------------------------------


def test_a_step_without_a_finite_loss_is_skipped_and_told(tmp_path: Path) -> None:
    """Call 3 is one of the two micro-batches of step 3."""
    toy_run(tmp_path, lambda call: math.nan if call in (2, 3) else 1.0, run__steps=8)
    skipped = [record for record in steps_of(tmp_path) if record["event"] == "skipped"]
    assert [record["step"] for record in skipped] == [2, 3]
    assert skipped[0]["losses"] == {"toy": "nan"}
    assert skipped[0]["samples"] == [2, 3]
    assert steps_of(tmp_path)[-1]["skipped"] == 2
    for folder in ("model", "model-ema"):
        assert all(tensor.isfinite().all() for tensor in toy_weights(tmp_path, folder).values())


def test_an_infinite_gradient_is_skipped_too(tmp_path: Path) -> None:
    objective = ToyObjective()
    trainer, _ = toy_trainer(toy_settings(tmp_path, run__steps=3), objective)
    before = objective.model.out.bias.detach().clone()
    hook = objective.model.out.bias.register_hook(lambda grad: grad * math.inf)
    with StopRequest() as stop:
        trainer.run(stop)
    hook.remove()
    assert objective.model.out.bias.equal(before)
    assert trainer.counters.guard.skipped == 3
    assert math.isfinite(sum(steps_of(tmp_path)[0]["losses"].values()))


def test_too_many_in_a_row_end_the_run_with_the_samples(tmp_path: Path) -> None:
    message = r"run\.nan_patience=3.*samples \[.*Lower optimizer\.learn_rate"
    with pytest.raises(ConfigError, match=message):
        toy_run(tmp_path, lambda call: math.nan if call > 9 else 1.0, run__nan_patience=3)
    assert [record["event"] for record in steps_of(tmp_path)][-4:] == [OK, *[SKIPPED] * 3]


def test_a_jump_of_the_loss_is_told_with_its_samples(tmp_path: Path) -> None:
    guard = Guard()
    for step in range(150):
        assert guard.judge(5 - step / 100 + 0.05 * (step % 3), [1.0], 6.0) == OK
    assert guard.judge(9.0, [1.0], 0.0) == OK
    assert guard.judge(40.0, [1.0], 6.0) == SPIKE
    assert guard.judge(5.0, [math.inf], 6.0) == SKIPPED
    assert (guard.skipped, guard.streak) == (1, 1)
    changes = {"batches__pieces": 12, "run__steps": 106, "run__checkpoint_steps": 0}
    toy_run(tmp_path, lambda call: 500.0 if call == 105 else 1.0, **changes)
    (spike,) = [record for record in steps_of(tmp_path) if record["event"] == "spike"]
    assert len(spike["samples"]) == 2


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_a_checkpoint(
    tmp_path: Path, number: signal.Signals
) -> None:
    def send(call: int) -> float:
        if call == 7:
            os.kill(os.getpid(), number)
        return 1.0

    ended, _ = toy_run(tmp_path / "cut", send)
    assert not ended
    (newest,) = (tmp_path / "cut" / "checkpoints").glob("step-*5")
    record = json.loads((newest / "state.json").read_text())
    assert record["counters"]["step"] == 5
    toy_run(tmp_path / "cut")
    toy_run(tmp_path / "whole")
    assert same_bits(tmp_path / "cut", tmp_path / "whole")


def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    def send(call: int) -> float:
        if call in (7, 8):
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        toy_run(tmp_path, send)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    assert signal.getsignal(signal.SIGINT) is before


# --- log and plot -------------------------------------------------------------------------------


def test_a_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.go_on(3)
    for step in range(6):
        log.write({"step": step})
    with log.path.open("a") as file:
        file.write('{"step": 1')
    log.go_on(3)
    assert [record["step"] for record in read_log(log.path)] == [0, 1, 2, 3]


def test_losses_and_scores_are_drawn(tmp_path: Path) -> None:
    toy_run(tmp_path, lambda call: math.nan if call == 4 else 1.0)
    plot_log(tmp_path / "log.jsonl", tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(log_module, "import_module", missing)
    with pytest.raises(ConfigError, match=r"matplotlib is not installed.*spacy-deberta\[plots\]"):
        plot_log(tmp_path / "log.jsonl", tmp_path / "losses.png")


def test_the_log_does_not_depend_on_being_cut(tmp_path: Path) -> None:
    toy_run(tmp_path, run__steps=5)
    first = timeless(tmp_path)
    toy_run(tmp_path, run__steps=5)
    assert timeless(tmp_path) == first
