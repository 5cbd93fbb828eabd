"""Question answering as `transformers` 4.57.6 does it: its offsets, scores and n-best.

Scores are normalized within each window, and those of one text are added wherever it stands. Kept
for comparison; the module `question_answering` says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers.pre_tokenizers import ByteLevel

from spacy_deberta.decoding.answer_windows import QuestionWindow
from spacy_deberta.tokenizers import Tokenizer, UnigramTokenizer

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_MASKED = np.float32(-10000.0)  # logit of the question's pieces
_NO_NULL = 1_000_000.0


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

    def whole_words(self, first: int, last: int, window: QuestionWindow) -> tuple[int, int]:
        """Pieces `first` to `last`, grown to whole words, or what the window has of them."""
        words = self.words[window.first : window.last]
        begin = np.searchsorted(words, self.words[first], side="left")
        end = np.searchsorted(words, self.words[last], side="right")
        return window.first + int(begin), window.first + int(end) - 1


def fast_offsets(core: Tokenizer, text: str) -> FastOffsets:
    """Offsets of a context's pieces, special pieces typed in it included."""
    pieces = core.encode(text, specials=True)
    names = [core.piece(int(id_)) for id_ in pieces.ids]
    if isinstance(core, UnigramTokenizer):
        return _unigram_offsets(core, text, names)
    return _byte_offsets(core, text, names)


def _unigram_offsets(core: Tokenizer, text: str, names: list[str]) -> FastOffsets:
    pieces = core.encode(text, specials=True)
    starts, ends = pieces.starts.astype(np.int64), pieces.ends.astype(np.int64)
    typed = [text[a:b] == name for a, b, name in zip(starts, ends, names, strict=True)]
    special = [name in core.added and same for name, same in zip(names, typed, strict=True)]
    begins = np.zeros(len(names), dtype=bool)
    for number, name in enumerate(names):
        after_special = number > 0 and special[number - 1]
        begins[number] = name.startswith(core.space_marker) or special[number] or after_special
        start = int(starts[number])
        if name.startswith(core.space_marker):
            spaced = start > 0 and text[start - 1].isspace() and text[:start].strip()
            if spaced:
                starts[number] = start - 1
            if name == core.space_marker:
                ends[number] = starts[number] + 1
    return FastOffsets(starts, ends, np.cumsum(begins) - 1)


def _byte_offsets(core: Tokenizer, text: str, names: list[str]) -> FastOffsets:
    """A piece of byte-level BPE has a character for each of its bytes."""
    widths = [len(chr(ord(c)).encode("utf-8", "surrogatepass")) for c in text]
    owner = np.repeat(np.arange(len(text), dtype=np.int64), widths)  # character of each byte
    if not names:
        none = np.zeros(0, dtype=np.int64)
        return FastOffsets(none, none, none)
    sizes = [len(name.encode()) if name in core.added else len(name) for name in names]
    last = np.minimum(np.cumsum(sizes), len(owner)).astype(np.int64)
    first = np.minimum(last - sizes, len(owner) - 1)
    starts, ends = owner[first], owner[last - 1] + 1
    ranges = ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    word_ends = np.array([span[1] for _, span in ranges], dtype=np.int64)
    return FastOffsets(starts, ends, np.searchsorted(word_ends, starts, side="right"))


class CompatOptions(Protocol):
    """What of the options matters here."""

    @property
    def top_k(self) -> int:
        """Answers."""

    @property
    def max_answer_len(self) -> int:
        """Pieces of an answer."""

    @property
    def handle_impossible_answer(self) -> bool:
        """No answer competes."""

    @property
    def align_to_words(self) -> bool:
        """Answers are whole words."""


def compat_answers(
    context: str,
    offsets: FastOffsets,
    windows: Sequence[tuple[QuestionWindow, Floats]],
    options: CompatOptions,
) -> list[dict[str, Any]]:
    """The n best answers to one question.

    Args:
        context: the text.
        offsets: of its pieces.
        windows: each with its (n, 2) start and end logits.
        options: see there.
    """
    answers: dict[str, dict[str, Any]] = {}
    null = _NO_NULL
    for window, logits in windows:
        start, end = _probabilities(window, logits)
        null = min(null, float(start[0] * end[0]))
        start[0] = end[0] = 0.0
        for first, last, score in _candidates(window, start, end, options):
            span = _characters(window, offsets, (first, last), options)
            text = context[span[0] : span[1]]
            known = answers.setdefault(
                text.lower(), {"score": 0.0, "start": span[0], "end": span[1], "answer": text}
            )
            known["score"] += score
    found = list(answers.values())
    if options.handle_impossible_answer:
        found.append({"score": null, "start": 0, "end": 0, "answer": ""})
    return sorted(found, key=lambda answer: -answer["score"])[: options.top_k]


def _probabilities(window: QuestionWindow, logits: Floats) -> tuple[Floats, Floats]:
    """Softmax of start and end over the context and [CLS]."""
    allowed = _allowed(window)
    masked = np.where(allowed[:, None], logits.astype(np.float32), _MASKED)
    weights = np.exp(masked - masked.max(0))
    probabilities = weights / weights.sum(0)
    return probabilities[:, 0].copy(), probabilities[:, 1].copy()


def _allowed(window: QuestionWindow) -> npt.NDArray[np.bool_]:
    allowed = np.zeros(len(window.ids), dtype=bool)
    allowed[window.offset : window.offset + window.last - window.first] = True
    allowed[np.array(window.ids) == window.ids[0]] = True
    return allowed


def _candidates(
    window: QuestionWindow, start: Floats, end: Floats, options: CompatOptions
) -> list[tuple[int, int, float]]:
    """Places of first and last piece, best first; 2k + 10 of them leave room for equal texts."""
    wanted = 2 * options.top_k + 10 if options.align_to_words else options.top_k
    outer = np.tril(np.triu(start[:, None] @ end[None]), options.max_answer_len - 1)
    flat = outer.flatten()
    if wanted == 1:
        order = np.array([np.argmax(flat)])
    elif len(flat) < wanted:
        order = np.argsort(-flat)
    else:
        best = np.argpartition(-flat, wanted)[:wanted]
        order = best[np.argsort(-flat[best])]
    allowed = _allowed(window)
    places = zip(*np.unravel_index(order, outer.shape), strict=True)
    return [(int(i), int(j), float(outer[i, j])) for i, j in places if allowed[i] and allowed[j]]


def _characters(
    window: QuestionWindow, offsets: FastOffsets, places: tuple[int, int], options: CompatOptions
) -> tuple[int, int]:
    """Characters between two places of a window; those outside the context stand at 0."""
    first, last = (place - window.offset + window.first for place in places)
    inside = [window.first <= piece < window.last for piece in (first, last)]
    if all(inside) and options.align_to_words:
        first, last = offsets.whole_words(first, last, window)
    start = int(offsets.starts[first]) if inside[0] else 0
    return start, int(offsets.ends[last]) if inside[1] else 0
