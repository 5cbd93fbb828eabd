"""`python -m spacy_deberta inspect`: what is in a folder, in words and as JSON."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from spacy_deberta.checkpoints import EMBEDDED_FOLDER, GENERATOR_FILE, state_tensors
from spacy_deberta.checkpoints.files import write_config, write_weights
from spacy_deberta.cli import app
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError
from spacy_deberta.heads import MaskedLMHead, SequenceHead
from tests.tiny import tiny_config

WEIGHTS = "model.safetensors"


def run(*arguments: object) -> Result:
    """The command's result; our own errors pass through."""
    result = CliRunner().invoke(
        app, ["inspect", *map(str, arguments)], env={"COLUMNS": "200", "TERM": "dumb"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classifier, with positions that it does not need."""
    config = tiny_config(num_labels=3)
    heads = {"pooler_classifier": SequenceHead(config).state_dict()}
    tensors = state_tensors(config, DebertaEncoder(config).state_dict(), heads)
    tensors["deberta.embeddings.position_embeddings.weight"] = torch.ones(64, 16)
    write_config(tmp_path, config.to_dict())
    write_weights(tmp_path, tensors)
    return tmp_path


def test_json_says_what_is_there_what_it_can_do_and_what_is_ignored(folder: Path) -> None:
    result = run(folder, "--json")
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "file": str(folder / WEIGHTS),
        "format": "safetensors",
        "model_type": "deberta-v2",
        "num_hidden_layers": 2,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "vocab_size": 512,
        "tasks": ["encoder", "sequence-classification"],
        "parameters": {
            "encoder": sum(p.numel() for p in DebertaEncoder(tiny_config()).parameters()),
            "pooler_classifier": 16 * 16 + 16 + 3 * 16 + 3,
        },
        "ignored": {
            "deberta.embeddings.position_embeddings.weight": (
                "absolute positions, which only a mask decoder would read"
            )
        },
        "faults": [],
    }


def test_the_table_says_the_same_in_words(folder: Path) -> None:
    printed = run(folder).output
    for text in (
        f"{folder / WEIGHTS} (safetensors)",
        "deberta-v2: num_hidden_layers 2, hidden_size 16, num_attention_heads 2, vocab_size 512",
        "encoder, sequence-classification",
        "323 parameters, pooler with a classifier",
        "position_embeddings.weight: absolute positions, which only a mask decoder would read",
    ):
        assert text in printed


def test_faults_are_shown_and_end_the_command_with_code_2(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["deberta.encoder.LayerNorm.bias"]
    tensors["deberta.encoder.LayerNorm.weight"][0] = float("nan")
    tensors["[bold]extra[/bold].weight"] = torch.ones(1)
    save_file(tensors, folder / WEIGHTS)
    faults = [
        "'[bold]extra[/bold].weight' has no place in the encoder of config.json",
        "'encoder.LayerNorm.bias' is missing",
        "'encoder.LayerNorm.weight' holds NaN or infinite values",
    ]
    result = run(folder, "--json")
    assert result.exit_code == 2
    assert json.loads(result.output)["faults"] == faults
    table = run(folder)
    assert table.exit_code == 2
    assert all(fault in table.output for fault in faults)


def test_one_file_of_several_can_be_named(folder: Path) -> None:
    config = tiny_config(num_hidden_layers=1)
    heads = {"mlm": MaskedLMHead(config).state_dict()}
    tensors = state_tensors(config, DebertaEncoder(config).state_dict(), heads)
    torch.save(tensors, folder / GENERATOR_FILE)
    described = json.loads(run(folder, "--json", "--weights", GENERATOR_FILE).output)
    assert described["num_hidden_layers"] == 1
    assert described["format"] == "bin"
    assert set(described["parameters"]) == {"encoder", "mlm"}


def test_the_embedded_model_fills_masks() -> None:
    described = json.loads(run(EMBEDDED_FOLDER, "--json").output)
    assert described["tasks"] == ["encoder", "fill-mask"]
    assert (described["ignored"], described["faults"]) == ({}, [])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        run(tmp_path)
