"""Special pieces and pieces that users added: found in texts as they are typed, and put back.

"a [MASK]b"  ─cut─>  "a", ([MASK]), "b"  ─the model, part by part─>  pieces  ─put_back─>  pieces
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import AddedPiece
from spacy_deberta.tokenizers.lowering import lower_texts, restore_spans
from spacy_deberta.tokenizers.spans import First, Ints

PAD, CLS, SEP, UNK, MASK = SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")

MAX_PIECES = 4_000_000  # 16 times mDeBERTa's
MAX_ADDED = 20_000  # pieces; the time to search a text does not grow with them
MAX_ADDED_CHARS = 100  # of one piece; the pattern nests that deep


@dataclass(frozen=True, eq=False)
class Cut:
    """Parts of texts, one after another; a piece that was found is an empty part.

    Attributes:
        texts: (P) the parts.
        starts: (P,) where each begins in its text, in characters.
        ends: (P,) where a piece that was found ends; else the same as `starts`.
        found: (P,) number of a piece that was found, else -1.
        first: (B + 1,) number of each text's first part, and P.
    """

    texts: list[str]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]
    found: npt.NDArray[np.int32]
    first: First


class Matcher:
    """Finds pieces in texts: the leftmost first, of those the longest.

    Args:
        pieces: what to look for, at least one.
    """

    def __init__(self, pieces: Mapping[str, AddedPiece]) -> None:
        self._pieces = dict(pieces)
        self.pattern = re.compile(_any_of(list(pieces)))

    def cut(self, texts: Sequence[str]) -> Cut | None:
        """Cut texts at the pieces; None if there are none in them."""
        if not any(map(self.pattern.search, texts)):
            return None
        cuts = [self._cut(text) for text in texts]
        parts = [part for cut in cuts for part in cut]
        starts, ends, found = np.array([part[1:] for part in parts], dtype=np.int32).T
        first = np.cumsum([0, *map(len, cuts)])
        return Cut([part[0] for part in parts], starts, ends, found, first)

    def _cut(self, text: str) -> list[tuple[str, int, int, int]]:
        """Part, start, end and number of the piece, or -1."""
        parts, at = [], 0
        for match in self.pattern.finditer(text):
            piece = self._pieces[match.group()]
            if piece.single_word and not _stands_alone(text, *match.span()):
                continue
            before = text[at : match.start()]
            if piece.lstrip:
                before = before.rstrip()
            parts += [(before, at, at, -1), ("", *match.span(), piece.id)]
            at = match.end()
            while piece.rstrip and text[at : at + 1].isspace():
                at += 1
        return [*parts, (text[at:], at, at, -1)]


def put_back(block: Ints, first: First, cut: Cut) -> tuple[Ints, First]:
    """Move the pieces of parts to their texts, and put those that were found between them.

    Args:
        block: (3, N) ids, starts and ends of the pieces of all parts; changed in place.
        first: (P + 1,) number of each part's first piece, and N.
        cut: P parts of B texts.

    Returns:
        The same for all texts, (3, M) and (B + 1,).
    """
    block[1:] += np.repeat(cut.starts, np.diff(first))
    is_found = cut.found >= 0
    columns = np.stack([cut.found, cut.starts, cut.ends])[:, is_found]
    block = np.insert(block, first[:-1][is_found], columns, axis=1)
    return block, (first + np.concatenate([[0], np.cumsum(is_found)]))[cut.first]


class AddedPieces:
    """The pieces that a tokenizer looks for in texts, around its model.

    Args:
        given: as the model's files or the user say; the five special ones need not be there.
        own: numbers of the five special pieces.
        source: what error messages call the files.
        lower: texts are lower-cased first, but for special pieces that are looked for.

    Raises:
        TokenizerError: there are too many, or one is empty, too long, or shares a number.
    """

    def __init__(
        self,
        given: Mapping[str, AddedPiece],
        own: Mapping[str, int],
        source: str,
        *,
        lower: bool = False,
    ) -> None:
        self.pieces = _complete(given, own, source)
        self.by_id = {entry.id: piece for piece, entry in self.pieces.items()}
        self._words = {id: piece for id, piece in self.by_id.items() if piece not in own}
        self._lower = lower
        special = {piece: entry for piece, entry in self.pieces.items() if entry.special}
        plain = {
            piece.lower() if lower else piece: entry
            for piece, entry in self.pieces.items()
            if not entry.special
        }
        self._special = Matcher(special)
        self._plain = Matcher(plain) if plain else None
        self._all = Matcher({**plain, **special})

    def encode(
        self,
        texts: Sequence[str],
        encode_parts: Callable[[Sequence[str]], tuple[Ints, First]],
        *,
        specials: bool,
    ) -> tuple[Ints, First]:
        """Split texts with a model that knows no added pieces.

        Args:
            texts: the caller's.
            encode_parts: the model: texts to ids, starts and ends of all pieces, (3, N), and the
                number of each text's first piece, and N.
            specials: look for the special pieces too.

        Returns:
            What `encode_parts` does, for the texts.
        """
        keep = self._special.pattern if specials else None
        lowered = lower_texts(texts, keep) if self._lower else texts
        matcher = self._all if specials else self._plain
        cut = matcher.cut(lowered) if matcher else None
        if cut is None:
            block, first = encode_parts(lowered)
        else:
            block, first = put_back(*encode_parts(cut.texts), cut)
        if self._lower:
            restore_spans(block, first, texts, lowered)
        return block, first

    def join(self, ids: Iterable[int], join: Callable[[list[int]], str]) -> str:
        """Join pieces to a text; those that users added are words of their own.

        Args:
            ids: numbers of pieces.
            join: makes the text of a run of all others.
        """
        texts, run = list[str](), list[int]()
        for id in map(int, ids):
            if id in self._words:
                texts += [*filter(None, [join(run)]), self._words[id]]
                run = []
            else:
                run.append(id)
        return " ".join([*texts, join(run)] if run else texts)


def _complete(
    given: Mapping[str, AddedPiece], own: Mapping[str, int], source: str
) -> dict[str, AddedPiece]:
    """The five special pieces and the given, checked."""
    added = {piece: AddedPiece(number, special=True) for piece, number in own.items()}
    for piece, entry in given.items():
        is_own = piece in own
        if is_own and entry.id != own[piece]:
            raise TokenizerError(
                f"{source}: {piece} is said to be number {entry.id}, but is number {own[piece]}. "
                "Use the files of one checkpoint together."
            )
        added[piece] = replace(entry, special=True) if is_own else entry
    if len(added) > MAX_ADDED:
        raise TokenizerError(
            f"{source}: {len(added)} added pieces, expected {MAX_ADDED} at most. Use the "
            "checkpoint's own files."
        )
    names: dict[int, str] = {}
    for piece, entry in added.items():
        if not 0 < len(piece) <= MAX_ADDED_CHARS or not 0 <= entry.id < MAX_PIECES:
            raise TokenizerError(
                f"{source}: added piece {piece[:MAX_ADDED_CHARS]!r} (number {entry.id}) has "
                f"{len(piece)} characters; expected 1 to {MAX_ADDED_CHARS}, and a number from 0 to "
                f"{MAX_PIECES - 1}. Remove it."
            )
        if names.setdefault(entry.id, piece) != piece:
            raise TokenizerError(
                f"{source}: {names[entry.id]!r} and {piece!r} both have number {entry.id}. Give "
                "every added piece a number of its own."
            )
    return added


def _any_of(words: Sequence[str]) -> str:
    """A pattern for the longest of several words that fits; common beginnings are shared."""
    tails: dict[str, list[str]] = defaultdict(list)
    for word in words:
        if word:
            tails[word[0]].append(word[1:])
    if not tails:
        return ""
    pattern = "|".join(re.escape(char) + _any_of(rest) for char, rest in tails.items())
    if len(tails) == 1 and "" not in words:
        return pattern
    return f"(?:{pattern})" + "?" * ("" in words)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether only spaces, or the text's ends, are beside text[start:end]."""
    return text[start - 1 : start] in ("", " ") and text[end : end + 1] in ("", " ")
