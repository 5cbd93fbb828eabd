"""An upcycled encoder under a new vocabulary learns what it computed with the old one."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from spacy_deberta.checkpoints import load_encoder, load_masked_lm_head, save_encoder
from spacy_deberta.errors import DataError, TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer, load_tokenizer
from spacy_deberta.training.distillation import (
    DistillationSettings,
    UpcycledPair,
    sample_lines,
    word_distance,
)
from spacy_deberta.training.loop import RunSettings
from spacy_deberta.training.upcycling import upcycle_encoder
from spacy_deberta.training.vocabulary import load_old_tokenizer, replace_vocabulary
from spacy_deberta.training.words import WordBatch, WordReader
from tests.training.test_upcycling import write_bert

TEXTS = ["a river, the", "  older   a\nrivers  ", "Paris, Warsaw " * 40, "", "   "]
WORDS = ["a", "river,", "the", "older", "a", "rivers"]


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


@pytest.fixture
def start_folder(bert_folder: Path, tmp_path: Path, tiny_tokenizer: UnigramTokenizer) -> Path:
    folder = tmp_path / "start"
    old = load_old_tokenizer(bert_folder)
    save_encoder(replace_vocabulary(upcycle_encoder(bert_folder), old, tiny_tokenizer), folder)
    tiny_tokenizer.save(folder)
    return folder


def words_of(batch: WordBatch) -> list[list[int]]:
    """The ids of each word."""
    ends = np.cumsum(batch.rows_per_word)
    return [
        batch.pieces[batch.rows[end - size : end]].tolist()
        for end, size in zip(ends, batch.rows_per_word, strict=True)
    ]


def test_teacher_and_student_read_the_same_words(
    bert_folder: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    teacher = load_old_tokenizer(bert_folder)
    read = WordReader(teacher, tiny_tokenizer, 30).read(TEXTS)
    assert read is not None
    old, new = read
    assert len(old.rows_per_word) == len(new.rows_per_word)
    assert len(old.lengths) == len(new.lengths) == 3, "texts without a word are left out"
    theirs = ["".join(teacher.id_to_token(n) or "" for n in ids) for ids in words_of(old)]
    assert [text.replace("##", "") for text in theirs[:6]] == WORDS
    assert [tiny_tokenizer.decode(ids).strip() for ids in words_of(new)[:6]] == WORDS
    for batch in (old, new):
        assert sum(batch.lengths) == len(batch.pieces)
        assert max(batch.lengths) <= 32


def test_distance_is_zero_to_itself_and_one_to_the_mean(tiny_tokenizer: UnigramTokenizer) -> None:
    batch = WordBatch(np.arange(6), [6], np.arange(1, 5), np.asarray([1, 3, 0]))
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert float(word_distance(rows, batch, rows, batch)) == 0
    means = torch.stack([rows[1], rows[2:5].mean(0)])
    far = word_distance(means.mean().expand(6, 4), batch, rows, batch)
    assert float(far) == pytest.approx(float(means.var(correction=0) / means.var()), rel=1e-5)


def test_distillation_draws_the_student_to_the_teacher(
    bert_folder: Path, start_folder: Path
) -> None:
    settings = DistillationSettings(
        layers=(1, 2), batch_pieces=60, longest=30, lm_weight=0.1, learn_rate=1e-2,
        table_learn_rate=3e-2, bf16=False,
    )  # fmt: skip
    pair = UpcycledPair.open(bert_folder, start_folder, settings)
    teacher = {name: tensor.clone() for name, tensor in pair.teacher.state_dict().items()}
    log = list(
        pair.train(
            ["a river, the older rivers"] * 20, RunSettings(steps=30, warmup_steps=2), settings
        )
    )
    losses = [progress.loss for progress in log]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert all(torch.equal(t, teacher[name]) for name, t in pair.teacher.state_dict().items())


def test_what_is_saved_is_a_checkpoint_with_a_head(
    bert_folder: Path, start_folder: Path, tmp_path: Path
) -> None:
    settings = DistillationSettings()
    pair = UpcycledPair.open(bert_folder, start_folder, settings)
    pair.save(tmp_path / "out")
    loaded = load_encoder(tmp_path / "out")
    for name, tensor in pair.student.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=2e-3, rtol=1e-3)
    assert load_masked_lm_head(tmp_path / "out", loaded).bias.shape == (loaded.config.vocab_size,)
    assert load_tokenizer(tmp_path / "out").n_pieces == pair.tokenizer.n_pieces


def test_a_head_that_was_saved_is_trained_on(
    bert_folder: Path, start_folder: Path, tmp_path: Path
) -> None:
    first = UpcycledPair.open(bert_folder, start_folder, DistillationSettings(seed=1))
    first.save(tmp_path / "out")
    again = UpcycledPair.open(bert_folder, tmp_path / "out", DistillationSettings(seed=2))
    wanted = first.head.dense.weight.half().float()
    assert torch.equal(again.head.dense.weight, wanted)


def test_batches_go_on_after_the_last_text(
    bert_folder: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    reader = WordReader(load_old_tokenizer(bert_folder), tiny_tokenizer, 30)
    batches = list(islice(reader.batches(["a river, the"] * 5, 40, seed=0), 10))
    assert [len(new.lengths) for _, new in batches] == [14] * 10, "from more than one epoch"


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_texts_without_a_word_are_an_error(
    bert_folder: Path, tiny_tokenizer: UnigramTokenizer, texts: list[str]
) -> None:
    reader = WordReader(load_old_tokenizer(bert_folder), tiny_tokenizer, 30)
    with pytest.raises(DataError, match="expected at least one with a word in it"):
        next(reader.batches(texts, 4, seed=0))


def test_texts_whose_first_word_is_too_long_are_left_out_and_counted(
    bert_folder: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    reader = WordReader(load_old_tokenizer(bert_folder), tiny_tokenizer, 30)
    long = "river" * 100
    assert reader.read([long]) is None
    with pytest.raises(DataError, match="found 2 texts whose first word alone has more than 30"):
        next(reader.batches([long, long], 20, seed=0))
    batches = reader.batches(["a river, the", long], 20, seed=0)
    with pytest.warns(UserWarning, match="1 of 2 texts are left out"):
        found = list(islice(batches, 3))
    assert all(len(new.lengths) >= 1 for _, new in found)


def test_lines_too_short_to_learn_from_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(f"short\n{'long ' * 20}\n\n{'line ' * 20}\n")
    assert len(sample_lines([tmp_path / "text.txt"], 1.0, seed=0)) == 2
    assert sample_lines([tmp_path / "text.txt"], 0.0, seed=0) == []


def test_a_folder_without_the_old_vocabulary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"holds no tokenizer\.json, nor vocab\.json with"):
        load_old_tokenizer(tmp_path)


def test_an_old_vocabulary_without_specials_is_an_error(tiny_tokenizer: UnigramTokenizer) -> None:
    from tokenizers import models

    plain = Tokenizer(models.WordPiece(vocab={"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(TokenizerError, match=r"the old vocabulary has no '\[CLS\]'"):
        WordReader(plain, tiny_tokenizer, 30)
