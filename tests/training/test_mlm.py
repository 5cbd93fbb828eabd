"""Masked-LM training at tiny size: it runs, it learns, and a seed repeats it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.heads import MaskedLMHead
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.corpus import PieceCorpus, write_corpus
from spacy_deberta.training.loop import Progress, RunSettings
from spacy_deberta.training.mlm import (
    BatchSampler,
    MaskedLM,
    MaskedLMSettings,
    masked_accuracy,
    train_masked_lm,
)
from tests.conftest import TINY_TEXT
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: UnigramTokenizer
) -> PieceCorpus:
    folder: Path = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    lines = [" ".join(rng.choices(TINY_TEXT.split(), k=rng.randint(3, 60))) for _ in range(60)]
    (folder / "text.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return write_corpus([folder / "text.txt"], tiny_tokenizer, folder)


def make_settings(**changes: Any) -> MaskedLMSettings:
    return MaskedLMSettings(**{"windows": (16, 8), "batch_pieces": 120, **changes})


def make_model() -> MaskedLM:
    torch.manual_seed(0)
    config = tiny_config(position_biased_input=True, hidden_dropout_prob=0.1)
    return MaskedLM(DebertaEncoder(config), MaskedLMHead(config))


def train(
    corpus: PieceCorpus,
    tokenizer: UnigramTokenizer,
    *,
    settings: MaskedLMSettings | None = None,
    bf16: bool = False,
    **changes: Any,
) -> tuple[MaskedLM, list[Progress]]:
    model = make_model()
    limit = {} if "minutes" in changes else {"steps": 3}
    run = RunSettings(**{"warmup_steps": 2, **limit, **changes})
    sampler = BatchSampler(corpus, tokenizer, settings or make_settings(seed=run.seed))
    return model, list(train_masked_lm(model, sampler, run, learn_rate=5e-3, bf16=bf16))


def same_weights(first: MaskedLM, second: MaskedLM) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_three_steps_train_every_parameter(
    corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer, bf16: bool
) -> None:
    model, log = train(corpus, tiny_tokenizer, bf16=bf16)
    assert [progress.step for progress in log] == [0, 1, 2]
    assert all(np.isfinite(progress.loss) and progress.loss > 0 for progress in log)
    assert log[-1].pieces >= 3 * 120
    assert not model.training
    start = make_model().state_dict()
    still = [n for n, tensor in model.state_dict().items() if torch.equal(tensor, start[n])]
    assert still == []
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_the_same_seed_gives_the_same_weights(
    corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Of a run that ends by its steps; time ends a run anywhere."""
    runs = [train(corpus, tiny_tokenizer, seed=seed) for seed in (1, 1, 2)]
    assert [p.loss for p in runs[0][1]] == [p.loss for p in runs[1][1]]
    assert same_weights(runs[0][0], runs[1][0])
    assert not same_weights(runs[0][0], runs[2][0])


def test_training_lowers_the_loss(corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer) -> None:
    _, log = train(corpus, tiny_tokenizer, steps=40)
    losses = [progress.loss for progress in log]
    assert np.mean(losses[-8:]) < 0.95 * np.mean(losses[:4])


def test_time_ends_a_run_too(corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer) -> None:
    _, log = train(corpus, tiny_tokenizer, minutes=0.1 / 60)
    assert log
    assert log[-1].seconds < 5
    _, log = train(corpus, tiny_tokenizer, minutes=10, steps=2)
    assert len(log) == 2


def test_batches_are_whole_windows_within_the_lengths_in_turn(
    corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer
) -> None:
    sampler = BatchSampler(corpus, tiny_tokenizer, make_settings())
    for step, longest in enumerate((16, 8, 16)):
        batch, lengths = sampler.batch(step)
        assert max(lengths) <= longest
        assert sum(lengths) == len(batch.pieces)
        assert sum(lengths) - lengths[-1] < 120 <= sum(lengths)
        original = batch.pieces.copy()
        original[batch.targets] = batch.labels
        ends = np.cumsum(lengths)
        assert (original[ends - 1] == tiny_tokenizer.sep_id).all()
        assert (original[ends - lengths] == tiny_tokenizer.cls_id).all()
        assert np.isin(original, [tiny_tokenizer.cls_id, tiny_tokenizer.sep_id]).sum() == 2 * len(
            lengths
        )


def test_an_epoch_reads_every_piece_once(
    corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer
) -> None:
    settings = make_settings(windows=(16,), batch_pieces=1, mask_share=0.0)
    sampler = BatchSampler(corpus, tiny_tokenizer, settings)
    n_windows = len(corpus.windows(14))
    seen = [sampler.batch(step)[0].pieces[1:-1] for step in range(n_windows)]
    assert sorted(np.concatenate(seen)) == sorted(corpus.pieces)


def test_a_batch_without_a_target_trains_nothing_and_breaks_nothing(
    corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer
) -> None:
    settings = make_settings(mask_share=0.0)
    model, log = train(corpus, tiny_tokenizer, settings=settings, weight_decay=0.0, steps=1)
    assert [progress.loss for progress in log] == [0.0]
    assert same_weights(model, make_model())
    assert masked_accuracy(model, BatchSampler(corpus, tiny_tokenizer, settings), 1) == (0.0, 0.0)


def test_accuracy_counts_masked_pieces_and_changes_nothing(
    corpus: PieceCorpus, tiny_tokenizer: UnigramTokenizer
) -> None:
    model = make_model()
    accuracy, loss = masked_accuracy(
        model, BatchSampler(corpus, tiny_tokenizer, make_settings()), 3
    )
    assert 0 <= accuracy < 0.2
    assert 3 < loss < 12
    assert same_weights(model, make_model())


def test_an_encoder_without_absolute_positions_is_refused() -> None:
    encoder = DebertaEncoder(tiny_config())
    message = r"^position_biased_input=False: this encoder needs the enhanced mask decoder"
    with pytest.raises(ConfigError, match=message):
        MaskedLM(encoder, MaskedLMHead(encoder.config))


def test_windows_are_cut_to_what_the_encoder_can_read() -> None:
    assert make_settings(windows=(128, 384)).fitting(200).windows == (128, 200)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"windows": ()}, "expected lengths of at least 3 pieces"),
        ({"windows": (128, 2)}, "expected lengths of at least 3 pieces"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_settings(**changes)
