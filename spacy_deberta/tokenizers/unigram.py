"""SentencePiece's unigram model with DeBERTa's special pieces (v2, v3, mDeBERTa, embedded)."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import AddedPiece, Pieces, per_text, replace_surrogates
from spacy_deberta.tokenizers.files import ADDED_FILE, write_folder
from spacy_deberta.tokenizers.packing import WHAT, Packed, pack, unpack_as
from spacy_deberta.tokenizers.processor import (
    check_numbers,
    mask_number,
    read_model,
    special_id,
)
from spacy_deberta.tokenizers.punctuation import punctuation_runs
from spacy_deberta.tokenizers.spans import (
    SPACE,
    First,
    Ints,
    Spans,
    attach_empty,
    irregular_spans,
    is_regular,
    piece_shapes,
    regular_spans,
)
from spacy_deberta.tokenizers.special import (
    CLS,
    MASK,
    PAD,
    SEP,
    UNK,
    AddedPieces,
)

MODEL_FILE = "spm.model"
KIND = "unigram"


class UnigramTokenizer:
    """Text to pieces with character offsets; immutable, safe to share between threads.

    Args:
        model: the serialized SentencePiece model, the content of spm.model.
        mask_id: number of [MASK]; by default the first number after the model's own pieces (the
            model file does not contain [MASK]).
        split_by_punct: make every punctuation character, and every run between two of them, a text
            of its own for the model.
        do_lower_case: read texts in lower case.
        added: pieces that are looked for in texts, beside or in place of the five special ones.
        source: what error messages call the model, usually its path.

    Raises:
        TokenizerError: the bytes are no such model, a special piece is missing, or added pieces
            cannot have their numbers.
    """

    space_marker = SPACE

    def __init__(
        self,
        model: bytes,
        *,
        mask_id: int | None = None,
        split_by_punct: bool = False,
        do_lower_case: bool = False,
        added: Mapping[str, AddedPiece] | None = None,
        source: str = MODEL_FILE,
    ) -> None:
        self._model = model
        self._settings = {"split_by_punct": split_by_punct, "do_lower_case": do_lower_case}
        self._split_by_punct = split_by_punct
        self._processor = read_model(model, source)
        self._n_model = self._processor.get_piece_size()
        numbers = list(range(self._n_model))
        self.pad_id, self.cls_id, self.sep_id, self.unk_id = (
            special_id(self._processor, piece, source) for piece in (PAD, CLS, SEP, UNK)
        )
        self.mask_id = mask_number(self._processor, mask_id, source)
        own = {PAD: self.pad_id, CLS: self.cls_id, SEP: self.sep_id, UNK: self.unk_id}
        self._added = AddedPieces(
            added or {}, {**own, MASK: self.mask_id}, source, lower=do_lower_case
        )
        self.added: Mapping[str, AddedPiece] = self._added.pieces
        check_numbers(self._processor, self.added, source)
        self.n_pieces = max(self._n_model, 1 + max(self._added.by_id))
        self._shapes = piece_shapes(
            self._processor.id_to_piece(numbers), self._processor.is_byte(numbers), self.unk_id
        )

    def encode(self, text: str, *, specials: bool = False) -> Pieces:
        """Split one text into pieces; "" and blank texts have none.

        Args:
            text: any string.
            specials: special pieces typed in the text become their numbers; else they are text.
        """
        return self.encode_batch([text], specials=specials)[0]

    def encode_batch(self, texts: Sequence[str], *, specials: bool = False) -> list[Pieces]:
        """Split texts into pieces; each result depends on its own text only.

        Lone surrogates count as U+FFFD, with a SurrogateWarning.
        """
        texts = replace_surrogates(texts)
        return per_text(*self._added.encode(texts, self._encode_words, specials=specials))

    def _encode_words(self, texts: Sequence[str]) -> tuple[Ints, First]:
        """What `_encode_parts` does, cut at punctuation where that is asked for."""
        if not self._split_by_punct:
            return self._encode_parts(texts)
        runs = punctuation_runs(texts)
        block, first = self._encode_parts(runs.texts)
        block[1:] += np.repeat(runs.starts, np.diff(first))
        return block, first[runs.first]

    def _encode_parts(self, texts: Sequence[str]) -> tuple[Ints, First]:
        """Ids, starts and ends of all pieces, (3, N); number of each text's first piece, and N."""
        # One by one: SentencePiece starts a thread for every call with a list (50 us).
        id_lists: list[list[int]] = [self._processor.encode(text) for text in texts]
        first = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in id_lists], out=first[1:])
        block = np.empty((3, first[-1]), dtype=np.int32)
        block[0] = np.fromiter(chain.from_iterable(id_lists), dtype=np.int32, count=first[-1])
        self._fill_spans(block, first, texts)
        return block, first

    def _fill_spans(self, block: Ints, first: First, texts: Sequence[str]) -> None:
        """Fill rows 1 and 2 of the block (3, N) with the spans of the ids in row 0."""
        ids, starts, ends = block
        counts = np.diff(first)
        advance = self._shapes.advance[ids]
        covered = np.concatenate([[0], np.cumsum(advance)])[first]
        totals, normalize = np.diff(covered).tolist(), self._processor.normalize
        regular = np.zeros(len(texts), dtype=bool)
        for number, text in enumerate(texts):
            normalized = normalize(text)
            # Unknown pieces have no length in the table: then the total falls short.
            regular[number] = totals[number] == len(normalized) and is_regular(text, normalized)
        chosen = np.repeat(regular, counts)
        texts_chosen = [text for text, is_chosen in zip(texts, regular, strict=True) if is_chosen]
        starts[chosen], ends[chosen] = regular_spans(
            *self._normalized_spans(ids[chosen], advance[chosen]), texts_chosen, counts[regular]
        )
        for number in np.flatnonzero(~regular & (counts > 0)).tolist():
            part = slice(first[number], first[number + 1])
            starts[part], ends[part] = self._irregular_spans(ids[part], texts[number])
        attach_empty(starts, ends, first)

    def _normalized_spans(self, ids: Ints, advance: Ints) -> Spans:
        """Spans in normalized characters, without the "▁" at their ends."""
        shapes = self._shapes
        ends = np.cumsum(advance, dtype=np.int32)
        return ends - shapes.width[ids] + shapes.lead[ids], ends - shapes.trail[ids]

    def _irregular_spans(self, ids: Ints, text: str) -> Spans:
        """Spans of one text's pieces by the normalizer's offsets; a bare "▁" is still empty."""
        starts, ends = self._normalized_spans(ids, self._shapes.advance[ids])
        unknown = np.flatnonzero(ids == self.unk_id)
        if len(unknown):
            # Without byte pieces, a run of unknown characters is one piece of any length.
            surfaces = self._processor.encode(text, out_type=str)
            lengths = np.zeros_like(ids)
            lengths[unknown] = [len(surfaces[i]) for i in unknown]
            shift = np.cumsum(lengths, dtype=np.int32)
            starts, ends = starts + shift, ends + shift
            starts[unknown] = ends[unknown] - lengths[unknown]
        _, offsets = self._processor.normalize(text, with_offsets=True)
        return irregular_spans(starts, ends, text, offsets)

    def piece(self, id: int) -> str:
        """The string of a piece, "▁" for a space; TokenizerError if there is no such piece."""
        if id in self._added.by_id:
            return self._added.by_id[id]
        if 0 <= id < self._n_model:
            return str(self._processor.id_to_piece(int(id)))
        if 0 <= id < self.n_pieces:
            return UNK
        raise TokenizerError(
            f"piece number {id} is not in the vocabulary; numbers run from 0 to {self.n_pieces - 1}"
        )

    def piece_id(self, piece: str) -> int | None:
        """The number of a piece; None if there is no such piece."""
        if piece in self.added:
            return self.added[piece].id
        number = int(self._processor.piece_to_id(piece))
        return number if self._processor.id_to_piece(number) == piece else None

    def decode(self, ids: Iterable[int]) -> str:
        """Join pieces to a text; special pieces stand in it by name.

        Runs of ordinary pieces are decoded by SentencePiece, which also joins byte pieces; a
        special piece ends a run and has a space before it if it follows nothing special:
        "[CLS] a[MASK] b[SEP]". Pieces that users added are words of their own. Numbers that only
        pad the model's table read "[UNK]".
        """
        return self._added.join(ids, self._decode)

    def _decode(self, ids: Sequence[int]) -> str:
        """Join pieces, none of them added by users."""
        text, run, after_special = "", list[int](), False
        for id in ids:
            if 0 <= id < self._n_model and id not in self._added.by_id:
                run.append(id)
                after_special = False
                continue
            gap = "" if after_special else " "
            text += gap + self._processor.decode(run) + self._added.by_id.get(id, UNK)
            run, after_special = [], True
        return (text + self._processor.decode(run)).strip()

    def vocabulary_files(self) -> dict[str, bytes]:
        """spm.model, unchanged."""
        return {MODEL_FILE: self._model}

    def save(self, folder: Path) -> None:
        """Write the files that `load_tokenizer` reads, spm.model unchanged."""
        settings = {"tokenizer_class": "DebertaV2Tokenizer", "vocab_type": "spm", **self._settings}
        outside = {piece: e.id for piece, e in self.added.items() if e.id >= self._n_model}
        files = {**self.vocabulary_files(), ADDED_FILE: json.dumps(outside).encode()}
        write_folder(folder, files, settings, self.added)

    def to_bytes(self) -> bytes:
        """Serialize the tokenizer: settings, added pieces, the model file's content."""
        return pack(Packed(KIND, self._settings, self.added, self.vocabulary_files()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Rebuild a tokenizer from `to_bytes`; TokenizerError if they are of another."""
        packed = unpack_as(KIND, data)
        return cls(
            packed.files.get(MODEL_FILE, b""),
            mask_id=packed.added[MASK].id if MASK in packed.added else None,
            split_by_punct=packed.settings.get("split_by_punct") is True,
            do_lower_case=packed.settings.get("do_lower_case") is True,
            added=packed.added,
            source=WHAT,
        )

    def __reduce__(self) -> tuple[Callable[[bytes], Self], tuple[bytes]]:
        return type(self).from_bytes, (self.to_bytes(),)
