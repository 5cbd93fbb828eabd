"""Whole runs of tiny models, from the shipped configs, by both commands."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from spacy_deberta.checkpoints import load_encoder, load_masked_lm_head
from spacy_deberta.checkpoints.safetensors_file import read_safetensors
from spacy_deberta.cli import app
from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.tokenizers import load_tokenizer
from spacy_deberta.training.pretraining.__main__ import main
from spacy_deberta.training.pretraining.log import read_log
from tests.conftest import tiny_texts
from tests.training.pretraining.test_distributed import TOLERANCE, free_port, start

CONFIGS = Path(__file__).parents[3] / "configs"
MODULE = ("-m", "spacy_deberta.training.pretraining")
TINY = {
    "model.shape.hidden_size": 16,
    "model.shape.num_hidden_layers": 2,
    "model.shape.num_attention_heads": 2,
    "model.shape.intermediate_size": 24,
    "model.shape.position_buckets": 8,
    "data.micro_pieces": 512,
    "batches.pieces": 512,
    "batches.ramp_from": 256,
    "batches.ramp_steps": 4,
    "optimizer.warmup_steps": 3,
    "run.steps": 12,
    "run.bf16": "false",
    "run.checkpoint_steps": 5,
    "run.threads": 1,
    "run.log_steps": 1,
    "evaluation.every_steps": 6,
    "evaluation.sequences": 8,
}


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    """A text to train on, and a held-out one, in documents of eight sentences."""
    sentences = tiny_texts()
    paths = (tmp_path / "text.txt", tmp_path / "held-out.txt")
    for path, lines in zip(paths, (sentences[:600], sentences[600:700]), strict=True):
        documents = ["\n".join(lines[begin : begin + 8]) for begin in range(0, len(lines), 8)]
        path.write_text("\n\n".join(documents), encoding="utf-8")
    return paths


@pytest.fixture
def arguments(texts: tuple[Path, Path], tiny_spm_folder: Path) -> list[str]:
    """Everything but config and output."""
    files = {"text": texts[0], "held_out": texts[1], "tokenizer": tiny_spm_folder}
    options = {**TINY, **{f"data.{name}": path for name, path in files.items()}}
    return [str(part) for name, value in options.items() for part in (f"--{name}", value)]


def run(name: str, out: Path, arguments: Sequence[str], *more: str) -> int:
    return main([str(CONFIGS / f"pretrain_{name}.cfg"), "--run.out", str(out), *arguments, *more])


def weights(out: Path, folder: str = "model") -> dict[str, torch.Tensor]:
    return {k: t.clone() for k, t in read_safetensors(out / folder / "model.safetensors").items()}


@pytest.mark.parametrize("name", ["mlm", "v3"])
def test_a_shipped_config_trains_a_checkpoint_that_can_be_loaded(
    tmp_path: Path, arguments: list[str], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(name, out, arguments) == 0
    for folder in ("model", "model-ema"):
        encoder = load_encoder(out / folder)
        assert encoder.config.num_hidden_layers == 2
        assert load_tokenizer(out / folder).n_pieces == 350
        filler = out / folder / ("generator" if name == "v3" else "")
        assert load_masked_lm_head(filler, load_encoder(filler)).bias.isfinite().all()
    records = read_log(out / "log.jsonl")
    losses = [sum(record["losses"].values()) for record in records if record["event"] == "step"]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    scores = [record["scores"] for record in records if record["event"] == "evaluation"]
    assert len(scores) == 2
    assert {"mlm_accuracy", "mlm_perplexity", "ema_mlm_nats"} <= scores[0].keys()
    assert ("rtd_f1" in scores[0]) is (name == "v3")
    assert "mlm_accuracy" in capfd.readouterr().err


def test_the_command_goes_on_from_a_finished_model(tmp_path: Path, arguments: list[str]) -> None:
    assert run("mlm", tmp_path / "first", arguments) == 0
    config = str(CONFIGS / "pretrain_mlm.cfg")
    options = {"model.init": tmp_path / "first" / "model", "run.out": tmp_path / "second"}
    shaped = arguments.index("--data.micro_pieces")  # before it: the shape of a random start
    given = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    result = CliRunner().invoke(app, ["pretrain", config, *arguments[shaped:], *given])
    assert result.exit_code == 0, result.exception
    first, second = (read_log(tmp_path / name / "log.jsonl") for name in ("first", "second"))
    assert second[0]["losses"]["mlm"] < first[0]["losses"]["mlm"]


def test_a_damaged_checkpoint_and_changed_data_are_told(
    tmp_path: Path,
    arguments: list[str],
    texts: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run("mlm", out, arguments) == 0
    before = weights(out)
    state = out / "checkpoints" / "step-00000012" / "state.json"
    state.write_text(state.read_text().replace("0", "1", 1))
    assert run("mlm", out, arguments, "--strict") == 2
    assert "error: " + str(state) in capfd.readouterr().err
    assert run("mlm", out, arguments) == 0
    assert f"warning: {state}" in capfd.readouterr().err
    assert all(tensor.equal(before[name]) for name, tensor in weights(out).items())
    texts[0].write_text(texts[0].read_text() + "\nthe old river", encoding="utf-8")
    assert run("mlm", out, arguments) == 2
    assert "data.text: content" in capfd.readouterr().err
    forced = ("--force", "data.text", "--run.steps", "13")
    assert run("mlm", out, arguments, *forced) == 0


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (("--data.text", "absent.txt"), DataError, r"absent\.txt"),
        (("--batches.windows", "[[1.0, 600]]"), ConfigError, "max_position_embeddings=512"),
        (("--data.micro_pieces", "100"), ConfigError, "micro_pieces=100: expected at least 512"),
        (("--objective.kind", "clm"), ConfigError, r"objective\.kind='clm'"),
        (("--run.device", "cuda"), ConfigError, r"run\.device='cuda'"),
        (("--run.out", "/dev/null/out"), CheckpointError, r"/dev/null/out: cannot be made"),
        (("--force", "run.x"), ConfigError, r"--force run\.x: unknown"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(
    tmp_path: Path,
    arguments: list[str],
    changes: tuple[str, str],
    kind: type[Exception],
    message: str,
) -> None:
    if "cuda" in changes and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    given = [*arguments]
    if changes[0] == "--data.text":  # a list: another one would be added
        at = given.index("--data.text")
        del given[at : at + 2]
    config = str(CONFIGS / "pretrain_mlm.cfg")
    out = [] if changes[0] == "--run.out" else ["--run.out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["pretrain", config, *out, *given, *changes])
    with pytest.raises(kind, match=message):
        raise result.exception or AssertionError(result.output)
    assert main([config, *out, *given, *changes]) == 2


# --- processes ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, arguments: list[str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = str(CONFIGS / "pretrain_v3.cfg")
    longer = ("--run.steps", "40")
    assert run("v3", whole, arguments, *longer) == 0
    command = [sys.executable, *MODULE, config, *arguments, *longer, "--run.out", str(killed)]
    for wanted in ("step-00000005", "step-00000015"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not (killed / "checkpoints" / wanted).exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -9
    assert subprocess.run(command, check=False).returncode == 0
    for folder in ("model", "model-ema", "model/generator"):
        found = weights(killed, folder)
        assert all(tensor.equal(found[name]) for name, tensor in weights(whole, folder).items())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_so_by_its_exit_code(
    tmp_path: Path, arguments: list[str], number: signal.Signals, code: int
) -> None:
    out, config = tmp_path / "out", str(CONFIGS / "pretrain_mlm.cfg")
    more = ["--run.steps", "100000", "--run.out", str(out)]
    process = subprocess.Popen([sys.executable, *MODULE, config, *arguments, *more])
    while not list((out / "checkpoints").glob("step-*5")):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    newest = max((out / "checkpoints").iterdir())
    step = json.loads((newest / "state.json").read_text())["counters"]["step"]
    assert read_log(out / "log.jsonl")[-1]["step"] == step


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(tmp_path: Path, arguments: list[str]) -> None:
    # Adam makes much of the rounding of a gradient near zero: its eps bounds by how much
    arguments = [*arguments, "--optimizer.eps", "1e-6"]
    for name in ("mlm", "v3"):
        one, two = tmp_path / name / "one", tmp_path / name / "two"
        assert run(name, one, arguments) == 0
        config = str(CONFIGS / f"pretrain_{name}.cfg")
        command = [*MODULE, config, *arguments, "--run.out", str(two)]
        processes = start(command, 2, free_port(), OMP_NUM_THREADS="1")
        errors = [process.communicate(timeout=300)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], errors
        found = weights(two)
        for key, tensor in weights(one).items():
            torch.testing.assert_close(found[key], tensor, rtol=0, atol=TOLERANCE)
