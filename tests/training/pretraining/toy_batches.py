"""Batches for objectives: a text that repeats itself, masked, cut into micro-batches at will."""

from collections.abc import Sequence

import numpy as np

from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.pretraining.data import Batch, Counts

LENGTHS = (9, 14, 5, 11)
WORDS = (
    "the old river crossed the quiet garden",
    "every teacher wrote one small letter in winter and opened the window",
    "Marie Curie moved between Paris and Warsaw early again",
)


def toy_batch(
    tokenizer: Tokenizer,
    lengths: Sequence[int] = LENGTHS,
    *,
    seed: int = 0,
    mask_share: float = 0.3,
) -> Batch:
    """Sequences of [CLS], pieces of the words from anywhere on, [SEP]."""
    rng = np.random.default_rng(seed)
    text = np.concatenate([tokenizer.encode(words).ids for words in WORDS]).astype(np.int64)
    parts, targets, start = [], [], 0
    for length in lengths:
        content = np.resize(np.roll(text, -int(rng.integers(len(text)))), length - 2)
        parts += [[tokenizer.cls_id], content, [tokenizer.sep_id]]
        targets += [start + 1 + place for place in range(length - 2) if rng.random() < mask_share]
        start += length
    pieces, chosen = np.concatenate(parts).astype(np.int64), np.array(targets, dtype=np.int64)
    labels = pieces[chosen]
    shown = np.arange(len(chosen)) % 4  # two of four masked, one another piece, one as it is
    pieces[chosen[shown < 2]] = tokenizer.mask_id
    pieces[chosen[shown == 2]] = text[0]
    return Batch(pieces=pieces, lengths=list(lengths), targets=chosen, labels=labels)


def counts_of(*batches: Batch) -> Counts:
    """Of all batches together."""
    n_sequences = sum(len(batch.lengths) for batch in batches)
    return Counts(
        pieces=sum(len(batch.pieces) for batch in batches) - 2 * n_sequences,
        targets=sum(len(batch.targets) for batch in batches),
        sequences=n_sequences,
    )


def split_batch(batch: Batch) -> list[Batch]:
    """One micro-batch per sequence."""
    found, start = [], 0
    for length in batch.lengths:
        inside = (batch.targets >= start) & (batch.targets < start + length)
        found.append(
            Batch(
                pieces=batch.pieces[start : start + length],
                lengths=[length],
                targets=batch.targets[inside] - start,
                labels=batch.labels[inside],
            )
        )
        start += length
    return found
