"""Running text: masked accuracy, pseudo-perplexity and bits per character.

Lines are cut into passages of whole sentences by characters, and words are hidden by their number
in the passage: every vocabulary sees the same contexts and the same hidden words.

Bits per character are the sum of -log2 p over all pieces, each hidden once, by the characters of
the passages, spaces included. Models of different vocabularies can be compared by them, best by
those of "pll_word_l2r", where small pieces do not give each other away. They are no code length: a
piece is predicted from both sides, so they lie below the entropy of the text.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.corpus import read_lines
from spacy_deberta.training.scoring.likelihood import VARIANTS, pseudo_log_likelihoods
from spacy_deberta.training.scoring.scorers import Copy, Scorer
from spacy_deberta.training.scoring.texts import ReadText, read_texts

PASSAGE_CHARACTERS = 512
MASK_SHARE = 0.15
MASK_SEED = 15

_SENTENCE_END = re.compile(r"(?<=[.!?]) +")


@dataclass(frozen=True)
class RunningTextReport:
    """What a model makes of running text.

    Attributes:
        n_passages: texts that were scored, each without the others.
        n_characters: of all passages.
        n_pieces: of all passages, special ones not counted.
        n_unknown: of these, unknown ones.
        n_masked: pieces hidden for the next two.
        masked_accuracy: share of the hidden pieces to which the model gives the highest
            probability, with 15 % of the words hidden as [MASK], the same ones every time.
        masked_nats: mean -log p of these.
        pseudo_perplexity: of each variant, e to the mean -log p of all pieces.
        bits_per_character: of each variant.
    """

    n_passages: int
    n_characters: int
    n_pieces: int
    n_unknown: int
    n_masked: int
    masked_accuracy: float
    masked_nats: float
    pseudo_perplexity: dict[str, float]
    bits_per_character: dict[str, float]


def read_passages(file: Path, limit_lines: int | None = None) -> list[str]:
    """Passages of the first lines of a text file, plain or .xz; blank lines do not count.

    Raises:
        DataError: the file cannot be read, or holds no text.
    """
    filled = (line for line in read_lines([file]) if line)
    passages = [part for line in islice(filled, limit_lines) for part in cut_passages(line)]
    if not passages:
        raise DataError(f"{file}: holds no text to score.")
    return passages


def cut_passages(line: str, longest: int = PASSAGE_CHARACTERS) -> list[str]:
    """Whole sentences, as many as fit; a longer one is cut between words, a longer word inside."""
    passages: list[str] = []
    for sentence in _SENTENCE_END.split(line):
        if passages and len(passages[-1]) + 1 + len(sentence) <= longest:
            passages[-1] += " " + sentence
        elif len(sentence) <= longest:
            passages.append(sentence)
        else:
            passages += textwrap.wrap(sentence, longest, break_on_hyphens=False)
    return [passage for passage in passages if passage.strip()]


def score_running_text(
    passages: Sequence[str],
    scorer: Scorer,
    tokenizer: Tokenizer,
    progress: Callable[[float], None] | None = None,
) -> RunningTextReport:
    """Score passages.

    Raises:
        DataError: there is not one piece in them.
    """
    texts = read_texts(passages, tokenizer)
    n_pieces = sum(len(text.ids) for text in texts)
    n_characters = sum(map(len, passages))
    if not n_pieces:
        raise DataError(f"text: found {n_characters} characters without a piece, expected words.")
    masked = scorer.predict(hide_words(texts, scorer.longest))
    parts = [part for text in texts for part in text.cut(scorer.longest)]
    scores = pseudo_log_likelihoods(parts, scorer, progress)
    nats = {name: -math.fsum(score.totals[name] for score in scores) for name in VARIANTS}
    n_masked = len(masked.right)
    return RunningTextReport(
        n_passages=len(passages),
        n_characters=n_characters,
        n_pieces=n_pieces,
        n_unknown=sum(int((text.ids == tokenizer.unk_id).sum()) for text in texts),
        n_masked=n_masked,
        masked_accuracy=float(masked.right.sum()) / max(1, n_masked),
        masked_nats=-math.fsum(masked.log_probabilities.tolist()) / max(1, n_masked),
        pseudo_perplexity={name: _exp(total / n_pieces) for name, total in nats.items()},
        bits_per_character={
            name: total / math.log(2) / n_characters for name, total in nats.items()
        },
    )


def hide_words(
    texts: Sequence[ReadText],
    longest: int | None,
    *,
    share: float = MASK_SHARE,
    seed: int = MASK_SEED,
) -> list[Copy]:
    """One copy of each text, or of its parts, with whole words hidden and all of them targets.

    The words depend on the seed, on the text's place among the texts and on its number of words,
    not on the vocabulary.

    Args:
        texts: in their order.
        longest: pieces of a part; None = any number.
        share: chance of a word to be hidden.
        seed: of the choice.
    """
    copies = []
    for number, text in enumerate(texts):
        chosen = np.random.default_rng((seed, number)).random(text.n_words) < share
        for part in text.cut(longest):
            places = np.flatnonzero(chosen[part.words]) if len(part.ids) else part.ids
            if len(places):
                copies.append(Copy(part.ids, places, places))
    return copies


def _exp(nats: float) -> float:
    """Without an error where a model gives nothing a chance."""
    return math.exp(nats) if nats < math.log(1e300) else math.inf
