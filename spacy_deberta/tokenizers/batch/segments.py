"""Samples in pieces, laid out as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spacy_deberta.tokenizers.batch.rows import Row, Segment, number_of_specials
from spacy_deberta.tokenizers.batch.samples import Text
from spacy_deberta.tokenizers.batch.truncation import Truncation, fit
from spacy_deberta.tokenizers.encoding import Pieces, Tokenizer


@dataclass(frozen=True)
class Splitting:
    """How texts become pieces.

    Attributes:
        specials: special pieces typed in a text are special pieces.
        in_words: texts are lists of words, each split by itself.
        prefix: stands before every word that does not begin with whitespace, outside its offsets.
    """

    specials: bool
    in_words: bool = False
    prefix: str = ""


def split_samples(
    core: Tokenizer, texts: Sequence[Sequence[Text]], splitting: Splitting
) -> list[tuple[Segment, ...]]:
    """One or two texts of every sample in pieces, all at once."""
    flat = [text for sample in texts for text in sample]
    if splitting.in_words:
        segments = _word_segments(core, flat, splitting)
    else:
        plain = [str(text) for text in flat]
        found = core.encode_batch(plain, specials=splitting.specials)
        segments = [Segment(pieces, None, t) for pieces, t in zip(found, plain, strict=True)]
    rest = iter(segments)
    return [tuple(next(rest) for _ in sample) for sample in texts]


def lay_rows(
    samples: Sequence[Sequence[Segment]], truncation: Truncation, *, framed: bool
) -> list[Row]:
    """Rows of all samples, in order; more than one for a sample only where windows are asked for.

    Args:
        samples: texts in pieces.
        truncation: what happens to those that are too long.
        framed: put special pieces around the texts.

    Raises:
        TokenizerError: a sample cannot be made to fit.
    """
    rows = []
    for number, segments in enumerate(samples):
        n_special = number_of_specials(len(segments)) if framed else 0
        for ranges in fit([len(segment) for segment in segments], n_special, truncation):
            rows.append(Row(number, segments, ranges, framed))
    return rows


def _word_segments(
    core: Tokenizer, samples: Sequence[Sequence[str]], splitting: Splitting
) -> list[Segment]:
    """Lists of words in pieces, each word by itself."""
    words = [word for sample in samples for word in sample]
    n_before = [len(splitting.prefix) * bool(word and not word[0].isspace()) for word in words]
    prefixed = [splitting.prefix[:n] + word for n, word in zip(n_before, words, strict=True)]
    found = core.encode_batch(prefixed, specials=splitting.specials)
    segments, first = [], 0
    for sample in samples:
        last = first + len(sample)
        pieces = _joined(found[first:last], n_before[first:last])
        lengths = [len(part) for part in found[first:last]]
        numbers = np.repeat(np.arange(len(sample), dtype=np.int32), lengths)
        segments.append(Segment(pieces, numbers, ""))
        first = last
    return segments


def _joined(parts: Sequence[Pieces], n_before: Sequence[int]) -> Pieces:
    """Pieces of words one after another, offsets without what was put before the words."""
    none = np.zeros(0, dtype=np.int32)
    shift = np.repeat(np.array(n_before, dtype=np.int32), [len(part) for part in parts])
    ids = np.concatenate([none, *(part.ids for part in parts)])
    starts = np.concatenate([none, *(part.starts for part in parts)])
    ends = np.concatenate([none, *(part.ends for part in parts)])
    return Pieces(ids, (starts - shift).clip(min=0), (ends - shift).clip(min=0))
