"""What a run must survive, and what it must refuse; more of it stands in test_state.py."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.training.pretraining.log import read_log
from spacy_deberta.training.pretraining.signals import StopRequest
from tests.training.pretraining.toy import (
    ToyObjective,
    same_bits,
    toy_run,
    toy_settings,
    toy_stop,
    toy_trainer,
    toy_weights,
)
from tests.training.pretraining.toy_worker import CHANGES

WORKER = Path(__file__).with_name("toy_worker.py")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_runs_go_on_to_the_same_bits(tmp_path: Path, seed: int) -> None:
    """SIGKILL at random moments, most of them while a checkpoint is written."""
    toy_run(tmp_path / "whole", **CHANGES)
    command = [sys.executable, str(WORKER), "kill", str(tmp_path / "killed"), str(seed), "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") > 1
    assert same_bits(tmp_path / "whole", tmp_path / "killed")
    left = [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert sorted(left) == ["step-00000028", "step-00000030"]


def test_a_full_disk_in_the_middle_is_a_warning_at_the_end_an_error(tmp_path: Path) -> None:
    toy_run(tmp_path / "whole")
    toy_stop(tmp_path / "full", 4)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(call: int) -> float:
        if call == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        return 1.0

    objective = ToyObjective(limit)
    trainer, output = toy_trainer(toy_settings(tmp_path / "full"), objective)
    try:
        with StopRequest() as stop, pytest.raises(CheckpointError, match="free space"):
            trainer.run(stop)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = output.progress._stream.getvalue()  # type: ignore[attr-defined]
    assert "warning: step 6:" in said
    assert "warning: step 9:" in said
    assert "log.jsonl: [Errno 27] File too large" in said
    left = [path.name for path in (tmp_path / "full" / "checkpoints").iterdir()]
    assert left == ["step-00000003"]
    toy_run(tmp_path / "full")
    assert same_bits(tmp_path / "whole", tmp_path / "full")


def test_a_damaged_checkpoint_costs_steps_not_the_run(tmp_path: Path) -> None:
    toy_run(tmp_path / "whole")
    toy_stop(tmp_path / "hurt", 14)
    path = tmp_path / "hurt" / "checkpoints" / "step-00000008" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    _, said = toy_run(tmp_path / "hurt")
    assert f"warning: {path}: found" in said
    assert "step-00000006: going on from here" in said
    assert same_bits(tmp_path / "whole", tmp_path / "hurt")


def test_other_settings_are_refused_before_the_first_step(tmp_path: Path) -> None:
    toy_run(tmp_path, run__steps=4)
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"optimizer\.grad_clip: 1\.0 then, 2\.0 now"):
        toy_run(tmp_path, optimizer__grad_clip=2.0)
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    toy_run(tmp_path, run__steps=4)
    objective = ToyObjective()
    objective.model.table = torch.nn.Embedding(11, 6)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: 'table\.weight' does not fit"):
        toy_trainer(toy_settings(tmp_path), objective)


def test_a_renamed_folder_is_the_same_run(tmp_path: Path) -> None:
    toy_run(tmp_path / "whole")
    toy_stop(tmp_path / "first", 10)
    (tmp_path / "first").rename(tmp_path / "second")
    (tmp_path / "link").symlink_to(tmp_path / "second", target_is_directory=True)
    toy_run(tmp_path / "link")
    assert same_bits(tmp_path / "whole", tmp_path / "second")


def test_a_folder_that_disappears_is_an_error_at_the_end(tmp_path: Path) -> None:
    def remove(call: int) -> float:
        if call == 9:
            shutil.rmtree(tmp_path / "out")
        return 1.0

    with pytest.raises(CheckpointError, match="cannot be written"):
        toy_run(tmp_path / "out", remove)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")]
)
def test_too_little_memory_names_the_batch_and_the_setting(
    tmp_path: Path, error: Exception
) -> None:
    def fail(call: int) -> float:
        raise error

    message = (
        r"data\.micro_pieces=12: out of memory with 12 pieces in 2 sequences of at most 6, 4 of "
        "them to predict.*Lower data.micro_pieces"
    )
    with pytest.raises(ConfigError, match=message):
        toy_run(tmp_path, fail)


def test_other_errors_of_a_step_stay_as_they_are(tmp_path: Path) -> None:
    def fail(call: int) -> float:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        toy_run(tmp_path, fail)


def test_another_layout_of_micro_batches_may_go_on(tmp_path: Path) -> None:
    toy_run(tmp_path, run__steps=6)
    toy_run(tmp_path, data__micro_pieces=6)
    steps = [r["step"] for r in read_log(tmp_path / "log.jsonl") if r["event"] == "step"]
    assert steps == list(range(1, 13))
    assert all(tensor.isfinite().all() for tensor in toy_weights(tmp_path).values())
