"""`python -m spacy_deberta convert`: any format in, released layout out."""

from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from spacy_deberta.checkpoints import load_encoder, open_checkpoint, state_tensors
from spacy_deberta.checkpoints.files import write_config
from spacy_deberta.cli import app
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError
from spacy_deberta.heads import ChoiceHead, ReplacedTokenHead, SequenceHead, SpanHead
from tests.tiny import tiny_config, tiny_v1_config

WEIGHTS = "model.safetensors"
MAKERS = {"v2": tiny_config, "v1": tiny_v1_config}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def write_bin(folder: Path, *, version: str = "v2", **heads: type[torch.nn.Module]) -> Path:
    """A folder as older releases are: a pickle, two files of a tokenizer, and positions."""
    torch.manual_seed(0)
    config = MAKERS[version]()
    states = {kind: module(config).state_dict() for kind, module in heads.items()}
    tensors = state_tensors(config, DebertaEncoder(config).state_dict(), states)
    tensors["deberta.embeddings.position_embeddings.weight"] = torch.ones(64, 16)
    write_config(folder, config.to_dict())
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "spm.model").write_bytes(b"pieces")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "run_me.py").write_text("raise SystemExit")
    return folder


@pytest.mark.parametrize("version", MAKERS)
def test_a_pickle_becomes_safetensors_with_its_head_and_tokenizer(
    tmp_path: Path, version: str
) -> None:
    source = write_bin(tmp_path / "in", version=version, pooler_classifier=SequenceHead)
    target = tmp_path / "new" / "out"
    printed = run(source, target)
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        WEIGHTS,
        "spm.model",
        "tokenizer_config.json",
    ]
    before, after = open_checkpoint(source), open_checkpoint(target)
    assert (after.config, after.tasks) == (before.config, before.tasks)
    assert (after.faults, after.ignored) == ([], {})
    assert_same(after.encoder, before.encoder)
    assert_same(after.heads["pooler_classifier"], before.heads["pooler_classifier"])
    assert printed == (
        f"{target}: encoder, pooler with a classifier; spm.model, tokenizer_config.json\n"
        "ignored: deberta.embeddings.position_embeddings.weight (absolute positions, which only a "
        "mask decoder would read)\n"
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_written_in_the_precision_asked_for(tmp_path: Path, dtype: str) -> None:
    source = write_bin(tmp_path / "in")
    run(source, tmp_path / "out", "--dtype", dtype)
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    load_encoder(tmp_path / "out")


def test_a_damaged_checkpoint_is_not_converted(tmp_path: Path) -> None:
    source = write_bin(tmp_path / "in", qa=SpanHead)
    tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
    tensors["qa_outputs.bias"][1] = float("nan")
    torch.save(tensors, source / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"'qa_outputs\.bias' holds NaN"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_not_converted_into_itself(tmp_path: Path) -> None:
    source = write_bin(tmp_path / "in")
    with pytest.raises(CheckpointError, match="is the folder to convert; expected another one"):
        run(source, source)


@pytest.mark.parametrize(
    ("kind", "module", "top"),
    [
        ("qa", SpanHead, "qa_outputs/tf_deberta_v2_for_question_answering"),
        ("pooler_classifier", SequenceHead, "pooler/tf_deberta_v2_for_sequence_classification"),
        ("pooler_classifier", ChoiceHead, "pooler/tf_deberta_v2_for_multiple_choice"),
    ],
)
def test_h5_files_are_written_as_tensorflows_classes_write_them(
    tmp_path: Path, kind: str, module: type[torch.nn.Module], top: str
) -> None:
    source = write_bin(tmp_path / "in", **{kind: module})
    run(source, tmp_path / "out", "--format", "h5")
    with h5py.File(tmp_path / "out" / "tf_model.h5") as file:
        assert top in file
    before, after = open_checkpoint(source), open_checkpoint(tmp_path / "out")
    assert (after.format, after.tasks, after.faults) == ("h5", before.tasks, [])
    assert_same(after.encoder, before.encoder)


def test_a_head_that_tensorflow_does_not_have_is_left_out_aloud(tmp_path: Path) -> None:
    source = write_bin(tmp_path / "in", rtd=ReplacedTokenHead)
    printed = run(source, tmp_path / "out", "--format", "h5")
    assert "left out: replaced-token head; h5 files have no place for it" in printed
    assert open_checkpoint(tmp_path / "out").tasks == ("encoder",)


def test_h5_files_have_one_precision(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="dtype='float16': h5 files are written in float32"):
        run(write_bin(tmp_path / "in"), tmp_path / "out", "--format", "h5", "--dtype", "float16")
