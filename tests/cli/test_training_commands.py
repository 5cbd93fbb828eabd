"""The way to the embedded model, at tiny size: vocabulary, upcycling, distillation."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spacy_deberta.checkpoints import load_encoder, load_masked_lm_head
from spacy_deberta.cli import app
from spacy_deberta.errors import CheckpointError, ConfigError, DataError, TokenizerError
from spacy_deberta.tokenizers import load_tokenizer
from tests.conftest import TINY_TEXT
from tests.training.test_upcycling import write_bert


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    words = TINY_TEXT.split()
    lines = [" ".join(words[start : start + 25]) + "." for start in range(0, len(words), 5)]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def test_the_three_commands_make_a_checkpoint(
    text_file: Path, bert_folder: Path, tmp_path: Path
) -> None:
    vocabulary, start, out = tmp_path / "vocabulary", tmp_path / "start", tmp_path / "out"
    n_pieces = 330
    printed = run("train-tokenizer", text_file, "-o", vocabulary, "--n-pieces", n_pieces)
    assert f"{n_pieces} pieces" in printed
    assert load_tokenizer(vocabulary).n_pieces == n_pieces
    assert "parameters" in run("upcycle", bert_folder, start, "--tokenizer", vocabulary)
    assert load_encoder(start).config.vocab_size >= n_pieces
    options = ("--text", text_file, "--minutes", 0.02, "--share", 1, "--n-threads", 1)
    assert "step 0: loss" in run("distil", bert_folder, start, out, *options)
    assert load_masked_lm_head(out, load_encoder(out)).bias.isfinite().all()


def test_an_upcycled_checkpoint_may_have_a_narrower_piece_table(
    text_file: Path, bert_folder: Path, tmp_path: Path
) -> None:
    vocabulary, start = tmp_path / "vocabulary", tmp_path / "start"
    run("train-tokenizer", text_file, "-o", vocabulary, "--n-pieces", 330)
    narrow = ("upcycle", bert_folder, start, "--tokenizer", vocabulary, "--embedding-size", 6)
    with pytest.raises(ConfigError, match="--embedding-size needs --text"):
        run(*narrow)
    run(*narrow, "--text", text_file)
    encoder = load_encoder(start)
    assert encoder.config.embedding_size == encoder.embeddings.pieces.weight.shape[1] == 6


def test_pretraining_goes_on_from_an_upcycled_checkpoint(
    text_file: Path, bert_folder: Path, tmp_path: Path
) -> None:
    vocabulary, start, out = tmp_path / "vocabulary", tmp_path / "start", tmp_path / "out"
    run("train-tokenizer", text_file, "-o", vocabulary, "--n-pieces", 330)
    run("upcycle", bert_folder, start, "--tokenizer", vocabulary)
    config = tmp_path / "run.cfg"
    config.write_text(
        f'[data]\ntext = ["{text_file}"]\n[batches]\npieces = 256\nwindows = [[1.0, 32]]\n'
        f'[run]\nout = "{out}"\nsteps = 2\nbf16 = false\nthreads = 1\n'
    )
    with pytest.raises(CheckpointError, match="holds no masked-LM head"):
        run("pretrain", config, "--model.init", start)
    run("pretrain", config, "--model.init", start, "--model.fresh_head", "true")
    before, after = load_encoder(start), load_encoder(out / "model")
    assert before.config.hidden_size == after.config.hidden_size
    assert not before.embeddings.pieces.weight.equal(after.embeddings.pieces.weight)
    further = ("--model.init", out / "model", "--run.out", tmp_path / "further")
    run("pretrain", config, *further)
    assert load_masked_lm_head(tmp_path / "further" / "model", after).bias.isfinite().all()


def test_a_text_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.txt"):
        run("train-tokenizer", tmp_path / "absent.txt", "-o", tmp_path / "out")


def test_a_folder_without_a_vocabulary_is_named(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: holds a 'WordPiece' model"):
        run("upcycle", bert_folder, tmp_path / "out", "--tokenizer", bert_folder)
