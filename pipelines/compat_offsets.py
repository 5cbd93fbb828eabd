"""Where the fast tokenizers of `transformers` 4.57.6 say that pieces stand, and their words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers.pre_tokenizers import ByteLevel

from spacy_deberta.tokenizers import Pieces, Tokenizer, UnigramTokenizer

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FastOffsets:
    """Where the fast tokenizers say that pieces stand.

    Attributes:
        starts: (n,) first character; a word's first piece has the space before it.
        ends: (n,) one behind the last.
        words: (n,) number of each piece's word: what spaces, or GPT-2's rules, separate.
    """

    starts: Ints
    ends: Ints
    words: Ints


def fast_offsets(core: Tokenizer, text: str) -> FastOffsets:
    """Offsets of a text's pieces; special pieces typed in it cut it, and each part begins anew."""
    columns: list[Ints] = [np.zeros((3, 0), dtype=np.int64)]  # starts, ends, words
    at = n_words = 0

    def append(part: FastOffsets) -> None:
        nonlocal n_words
        columns.append(np.stack([part.starts + at, part.ends + at, part.words + n_words]))
        n_words += int(part.words.max(initial=-1)) + 1

    for first, behind in _special_spans(core, text):
        append(_part_offsets(core, text[at:first]))
        at = first
        append(FastOffsets(*np.array([[0], [behind - first], [0]])))
        at = behind
    append(_part_offsets(core, text[at:]))
    return FastOffsets(*np.concatenate(columns, axis=1))


def _special_spans(core: Tokenizer, text: str) -> list[tuple[int, int]]:
    """Special pieces typed in a text, with the whitespace that they take.

    [UNK] of unigram vocabularies is a word like others.
    """
    pieces = core.encode(text, specials=True)
    spans = []
    for id_, start, end in zip(*_added(core, pieces), strict=True):
        name = core.piece(id_)
        is_word = id_ == core.unk_id and isinstance(core, UnigramTokenizer)
        if text[start:end] == name and not is_word:  # another text is unknown, not typed
            added = core.added[name]
            first = len(text[:start].rstrip()) if added.lstrip else start
            behind = len(text) - len(text[end:].lstrip()) if added.rstrip else end
            spans.append((first, behind))
    return spans


def _added(core: Tokenizer, pieces: Pieces) -> tuple[list[int], list[int], list[int]]:
    """Ids, starts and ends of the pieces that may have been typed."""
    chosen = np.isin(pieces.ids, [added.id for added in core.added.values()])
    return (
        pieces.ids[chosen].tolist(),
        pieces.starts[chosen].tolist(),
        pieces.ends[chosen].tolist(),
    )


def _part_offsets(core: Tokenizer, text: str) -> FastOffsets:
    """Offsets in a text without special pieces, [UNK] excepted."""
    pieces = core.encode(text, specials=True)
    if not len(pieces):
        none = np.zeros(0, dtype=np.int64)
        return FastOffsets(none, none, none)
    names = [core.piece(int(id_)) for id_ in pieces.ids]
    if isinstance(core, UnigramTokenizer):
        return _unigram_offsets(pieces, text, names, core.space_marker)
    return _byte_offsets(text, names)


def _unigram_offsets(pieces: Pieces, text: str, names: list[str], marker: str) -> FastOffsets:
    starts, ends = pieces.starts.astype(np.int64), pieces.ends.astype(np.int64)
    marked = np.array([name.startswith(marker) for name in names])
    typed = np.array([text[a:b] == "[UNK]" for a, b in zip(starts, ends, strict=True)])
    begins = marked | typed
    begins[1:] |= typed[:-1]
    begins[0] = True
    for number in np.flatnonzero(marked):
        start = int(starts[number])
        if start > 0 and text[start - 1].isspace() and text[:start].strip():
            starts[number] = start - 1
        if names[number] == marker:
            ends[number] = starts[number] + 1
    return FastOffsets(starts, ends, np.cumsum(begins) - 1)


def _byte_offsets(text: str, names: list[str]) -> FastOffsets:
    """A piece of byte-level BPE has a character for each of its bytes."""
    widths = [len(chr(ord(c)).encode("utf-8", "surrogatepass")) for c in text]
    owner = np.repeat(np.arange(len(text), dtype=np.int64), widths)  # character of each byte
    sizes = [len(name) for name in names]
    last = np.minimum(np.cumsum(sizes), len(owner)).astype(np.int64)
    first = np.minimum(last - sizes, len(owner) - 1)
    starts, ends = owner[first], owner[last - 1] + 1
    ranges = ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    word_ends = np.array([span[1] for _, span in ranges], dtype=np.int64)
    return FastOffsets(starts, ends, np.searchsorted(word_ends, starts, side="right"))
