"""Scorers from checkpoints, and the two controls of the same shape and vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from spacy_deberta.checkpoints import (
    GENERATOR,
    GENERATOR_FILE,
    Checkpoint,
    fill_modules,
    open_checkpoint,
    resolve_source,
    resolve_tokenizer_source,
    unfilled,
)
from spacy_deberta.config import DebertaV2Config
from spacy_deberta.errors import ConfigError, DataError
from spacy_deberta.modeling import DebertaForMaskedLM, DebertaV2ForMaskedLM
from spacy_deberta.modeling.loading import read_dtype
from spacy_deberta.modeling.masked_lm import held_decoder, refuse_absent
from spacy_deberta.tokenizers import Tokenizer, load_tokenizer
from spacy_deberta.training.corpus import read_lines
from spacy_deberta.training.scoring.scorers import BATCH_PIECES, MaskedScorer, UnigramScorer

_CHUNK = 4096  # lines tokenized in one call


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """How a model runs.

    Attributes:
        dtype: precision of the weights, by its name.
        device: as torch names it.
        batch_pieces: most pieces of a batch.
    """

    dtype: str = "float32"
    device: str = "cpu"
    batch_pieces: int = BATCH_PIECES


def open_masked_lm(
    source: str | None, options: ScorerOptions | None = None
) -> tuple[MaskedScorer, Tokenizer]:
    """A trained model and its tokenizer.

    Args:
        source: a checkpoint folder or a name on the hub; None = the embedded model. Of a v3
            release, its generator is taken.
        options: how it runs.

    Raises:
        CheckpointError: a file is missing or damaged, or holds no masked-LM head that was trained
            with its encoder.
    """
    folder = resolve_source(source, prefer=GENERATOR_FILE)
    checkpoint = open_checkpoint(folder, part=GENERATOR)
    decoder = held_decoder(checkpoint) or refuse_absent(checkpoint)
    with unfilled():
        model = _model_class(checkpoint)(checkpoint.config, "auto", decoder)
    fill_modules({"encoder": model.encoder, **model.heads()}, checkpoint)
    return _scorer(model, folder, options or ScorerOptions())


def open_random(
    source: str | None, seed: int, options: ScorerOptions | None = None
) -> tuple[MaskedScorer, Tokenizer]:
    """The same shape and mask decoder with random weights; `open_masked_lm` says the rest."""
    folder = resolve_source(source, prefer=GENERATOR_FILE)
    checkpoint = open_checkpoint(folder, part=GENERATOR)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        decoder = held_decoder(checkpoint) or "auto"
        model = _model_class(checkpoint)(checkpoint.config, "auto", decoder)
    return _scorer(model, folder, options or ScorerOptions())


def open_unigram(source: str | None, counted: Sequence[Path]) -> tuple[UnigramScorer, Tokenizer]:
    """Frequencies of a checkpoint's pieces in text files, and its tokenizer.

    Args:
        source: as for `open_masked_lm`; only its tokenizer is read.
        counted: text files, plain or .xz.

    Raises:
        DataError: no file is given, or one cannot be read.
    """
    if not counted:
        raise DataError(
            "unigram: no text to count pieces in; expected a file, with --counts or --text."
        )
    tokenizer = load_tokenizer(resolve_tokenizer_source(source))
    counts = np.zeros(tokenizer.n_pieces, dtype=np.int64)
    lines = read_lines(counted)
    while chunk := list(islice(lines, _CHUNK)):
        for pieces in tokenizer.encode_batch(chunk):
            counts += np.bincount(pieces.ids, minlength=tokenizer.n_pieces)
    return UnigramScorer(counts), tokenizer


def _model_class(checkpoint: Checkpoint) -> type[DebertaForMaskedLM]:
    is_second = type(checkpoint.config) is DebertaV2Config
    return DebertaV2ForMaskedLM if is_second else DebertaForMaskedLM


def _scorer(
    model: DebertaForMaskedLM, folder: Path, options: ScorerOptions
) -> tuple[MaskedScorer, Tokenizer]:
    tokenizer = load_tokenizer(folder)
    precision = read_dtype(options.dtype)
    try:
        model = model.to(device=options.device, dtype=precision).eval()
    except (AssertionError, RuntimeError) as error:  # torch has no type of its own for either
        raise ConfigError(
            f"device={options.device!r}: torch cannot use it here ({error}); expected 'cpu', or a "
            "device that this machine and this build of torch have."
        ) from error
    return MaskedScorer(model, tokenizer, options.batch_pieces), tokenizer
