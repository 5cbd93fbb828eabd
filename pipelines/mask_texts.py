"""Texts with masks: what may stand in them, and the rows that the model has to compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.batching import Row
from pipelines.inputs import describe, preview
from spacy_deberta.decoding import (
    MASK,
    ChainStep,
    Filling,
    center_window,
    chain_steps,
    group_masks,
    split_at_masks,
)
from spacy_deberta.errors import InputError
from spacy_deberta.tokenizers import Tokenizer

MAX_BEFORE = 50  # characters before a mask that decide which pieces a word there has

Words = tuple[tuple[int, ...], ...]


class Piece(str):
    """A target that is a piece of the vocabulary by its own name, not a word in a text."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class MaskedText:
    """A text and its masks.

    Attributes:
        text: as the caller gave it.
        ids: (N,) pieces, without special pieces around them.
        places: numbers of the pieces that are masks.
        spans: first character of each mask, and one behind its last.
        words: for each mask the pieces of each target; None = any piece may fill it.
        names: for each mask the targets, as the caller wrote them.
    """

    text: str
    ids: npt.NDArray[np.int64]
    places: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    words: tuple[Words, ...] | None
    names: tuple[dict[tuple[int, ...], str], ...]


@dataclass(frozen=True)
class Query:
    """What is asked of one piece of a row.

    Attributes:
        mask: number of the mask in its text.
        step: how far a word of several pieces has been filled in.
        position: of the piece in the row.
        pieces: ids whose probability is wanted; None = the best ones.
    """

    mask: int
    step: ChainStep
    position: int
    pieces: tuple[int, ...] | None


@dataclass(frozen=True)
class Asked:
    """What is asked of one row; what its masks were filled with."""

    filling: Filling
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Frame:
    """What stands around and in the texts of one tokenizer, and how many pieces fit."""

    cls_id: int
    sep_id: int
    mask_id: int
    room: int

    def rows(self, item: MaskedText, filling: Filling) -> Iterator[Row]:
        """The rows that score all masks that are not filled."""
        for group in group_masks(item.places, len(item.ids), self.room):
            missing = [mask for mask in group if filling[mask] is None]
            plans: list[tuple[ChainStep, list[tuple[int, tuple[int, ...] | None]]]]
            if item.words is None:
                plans = [(ChainStep(), [(mask, None) for mask in missing])]
            else:
                plans = [
                    (step, [(mask, pieces)])
                    for mask in missing
                    for step, pieces in chain_steps(item.words[mask]).items()
                ]
            for step, wanted in plans:
                if wanted:
                    yield self._row(item, filling, group, step, wanted)

    def _row(
        self,
        item: MaskedText,
        filling: Filling,
        group: Sequence[int],
        step: ChainStep,
        wanted: Sequence[tuple[int, tuple[int, ...] | None]],
    ) -> Row:
        """One window, its masks filled; where several masks are asked, the step is that of one."""
        grown = {mask: word for mask, word in enumerate(filling) if word is not None}
        if step.length > 1:
            n_open = step.length - len(step.filled)
            grown[wanted[0][0]] = (*step.filled, *[self.mask_id] * n_open)
        first, last = self._window(item, group, grown)
        ids, start, positions = [self.cls_id], first, {}
        for mask, place in enumerate(item.places):
            if first <= place < last:
                ids += item.ids[start:place].tolist()
                positions[mask] = len(ids)
                ids += grown.get(mask, (self.mask_id,))
                start = place + 1
        ids += [*item.ids[start:last].tolist(), self.sep_id]
        queries = tuple(
            Query(mask, step, positions[mask] + len(step.filled), pieces) for mask, pieces in wanted
        )
        return Row(ids, None, Asked(filling, queries))

    def _window(
        self, item: MaskedText, group: Sequence[int], grown: dict[int, tuple[int, ...]]
    ) -> tuple[int, int]:
        """First piece of a group's window, and one behind its last."""
        left, right = item.places[group[0]], item.places[group[-1]]
        middle = (left + right) // 2
        near = [m for m in grown if abs(item.places[m] - middle) <= self.room]
        room = self.room - sum(len(grown[mask]) - 1 for mask in near)
        if room <= right - left:
            raise InputError(
                f"the targets of the masks at characters {[item.spans[m][0] for m in group]} need "
                f"more pieces than the {self.room} that fit into the model beside its special "
                "pieces; use fewer masks or shorter targets."
            )
        return center_window(left, right, len(item.ids), room)


def read_targets(targets: object) -> tuple[str, ...] | None:
    """The targets of a call, each once, in the given order.

    Raises:
        InputError: there is none, or one is no text.
    """
    if targets is None:
        return None
    given = [targets] if isinstance(targets, str) or not isinstance(targets, Iterable) else targets
    words = tuple(dict.fromkeys(given))
    for word in words:
        if not isinstance(word, str):
            raise InputError(f"targets: found {describe(word)}, expected words (str).")
    if not words or not all(word.strip() for word in words):
        found = "an empty word" if words else "no word"
        raise InputError(f"targets: found {found}, expected at least one word; None = any piece.")
    return words


def find_masks(text: str, core: Tokenizer, targets: Sequence[str] | None) -> MaskedText:
    """A text in pieces, and its masks.

    Raises:
        InputError: the text has no mask, or a target that the vocabulary cannot write.
    """
    found = split_at_masks(
        text,
        lambda part: core.encode(part).ids,
        core.mask_id,
        takes_space=core.added[MASK].lstrip,
    )
    check_masks(found.places, text)
    words: tuple[Words, ...] | None = None
    names: tuple[dict[tuple[int, ...], str], ...] = ()
    if targets is not None:
        names = tuple(_name_words(core, text[:start], targets) for start, _ in found.spans)
        words = tuple(tuple(each) for each in names)
    return MaskedText(text, found.ids, found.places, found.spans, words, names)


def check_masks(places: Sequence[int], text: str) -> None:
    """Refuse a text without a mask.

    Raises:
        InputError: with its beginning.
    """
    if not places:
        raise InputError(f"no {MASK} in {preview(text)}; write it where a word is to be filled in.")


def _name_words(core: Tokenizer, before: str, targets: Sequence[str]) -> dict[tuple[int, ...], str]:
    """The pieces of each target behind a text; targets with the same pieces are the same."""
    found: dict[tuple[int, ...], str] = {}
    for target in targets:
        found.setdefault(word_pieces(core, before, target), target)
    return found


def word_pieces(core: Tokenizer, before: str, target: str) -> tuple[int, ...]:
    """The pieces that a word has behind a text, such as with or without the mark of a space.

    Raises:
        InputError: the vocabulary cannot write it.
    """
    if isinstance(target, Piece):
        number = core.piece_id(target)
        if number is None:
            raise InputError(f"targets: {str(target)!r} is no piece of this vocabulary.")
        return (number,)
    word = target.strip()
    tail = before[-MAX_BEFORE:]
    solid = tail.rstrip()
    near = solid[solid.rfind(" ") + 1 :] if solid == tail else " "
    pieces = core.encode(near + word)
    if ((pieces.starts < len(near)) & (pieces.ends > len(near))).any():  # one piece has both
        near, pieces = "", core.encode(word)
    ids = tuple(pieces.ids[pieces.starts >= len(near)].tolist())
    if not ids or core.unk_id in ids:
        raise InputError(
            f"targets: {target!r} cannot be written in the pieces of this vocabulary: it gives "
            f"{[core.piece(i) for i in ids] or 'none'}; expected a word of its script."
        )
    return ids
