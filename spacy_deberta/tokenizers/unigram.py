"""SentencePiece's unigram model with DeBERTa's special pieces (v2, v3, mDeBERTa, embedded)."""

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import sentencepiece

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import Pieces, replace_surrogates
from spacy_deberta.tokenizers.punctuation import punctuation_runs
from spacy_deberta.tokenizers.spans import (
    Ints,
    Spans,
    attach_empty,
    irregular_spans,
    is_regular,
    piece_shapes,
    regular_spans,
)

MODEL_FILE = "spm.model"
SETTINGS_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"
PAD, CLS, SEP, UNK, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"

MAX_MODEL_BYTES = 64 * 2**20  # mDeBERTa's model, the largest released, has 4.3 MB
MAX_PIECES = 4_000_000  # 16 times mDeBERTa's
HEADER = struct.Struct("<I?")  # of the serialized tokenizer: number of [MASK], split_by_punct


class UnigramTokenizer:
    """Text to pieces with character offsets; immutable, safe to share between threads.

    Args:
        model: the serialized SentencePiece model, the content of spm.model.
        mask_id: number of [MASK]; by default the first number after the model's own pieces (the
            model file does not contain [MASK]).
        split_by_punct: make every punctuation character, and every run between two of them, a text
            of its own for the model.
        source: what error messages call the model, usually its path.

    Raises:
        TokenizerError: the bytes are no such model, or a special piece is missing.
    """

    def __init__(
        self,
        model: bytes,
        *,
        mask_id: int | None = None,
        split_by_punct: bool = False,
        source: str = MODEL_FILE,
    ) -> None:
        self._model = model
        self._split_by_punct = split_by_punct
        self._processor = _read_model(model, source)
        self._n_model = self._processor.get_piece_size()
        numbers = list(range(self._n_model))
        self.pad_id, self.cls_id, self.sep_id, self.unk_id = (
            _special_id(self._processor, piece, source) for piece in (PAD, CLS, SEP, UNK)
        )
        self.mask_id = _mask_id(self._processor, mask_id, source)
        self.n_pieces = max(self._n_model, self.mask_id + 1)
        self._shapes = piece_shapes(
            self._processor.id_to_piece(numbers), self._processor.is_byte(numbers), self.unk_id
        )

    def encode(self, text: str) -> Pieces:
        """Split one text into pieces; "" and blank texts have none."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Split texts into pieces; each result depends on its own text only.

        Lone surrogates count as U+FFFD, with a SurrogateWarning. Typed special pieces are text.
        """
        texts = replace_surrogates(texts)
        if not self._split_by_punct:
            return _per_text(*self._encode_parts(texts))
        runs = punctuation_runs(texts)
        block, first = self._encode_parts(runs.texts)
        block[1:] += np.repeat(runs.starts, np.diff(first))
        return _per_text(block, first[runs.first])

    def _encode_parts(self, texts: Sequence[str]) -> tuple[Ints, npt.NDArray[np.int64]]:
        """Ids, starts and ends of all pieces, (3, N); number of each text's first piece, and N."""
        # One by one: SentencePiece starts a thread for every call with a list (50 us).
        id_lists: list[list[int]] = [self._processor.encode(text) for text in texts]
        first = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in id_lists], out=first[1:])
        block = np.empty((3, first[-1]), dtype=np.int32)
        block[0] = np.fromiter(chain.from_iterable(id_lists), dtype=np.int32, count=first[-1])
        self._fill_spans(block, first, texts)
        return block, first

    def _fill_spans(
        self, block: npt.NDArray[np.int32], first: npt.NDArray[np.int64], texts: Sequence[str]
    ) -> None:
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
        if id == self.mask_id:
            return MASK
        if 0 <= id < self._n_model:
            return str(self._processor.id_to_piece(int(id)))
        raise TokenizerError(
            f"piece number {id} is not in the vocabulary; numbers run from 0 to {self.n_pieces - 1}"
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Join pieces to a text; special pieces stand in it by name.

        Runs of ordinary pieces are decoded by SentencePiece, which also joins byte pieces; a
        special piece ends a run and has a space before it if it follows nothing special:
        "[CLS] a[MASK] b[SEP]". Numbers that only pad the model's table read "[UNK]".
        """
        text, run, after_special = "", [], False
        special = {self.pad_id: PAD, self.cls_id: CLS, self.sep_id: SEP, self.mask_id: MASK}
        for id in map(int, ids):
            if 0 <= id < self._n_model and id != self.unk_id and id not in special:
                run.append(id)
                after_special = False
                continue
            gap = "" if after_special else " "
            text += gap + self._processor.decode(run) + special.get(id, UNK)
            run, after_special = [], True
        return (text + self._processor.decode(run)).strip()

    def save(self, folder: Path) -> None:
        """Write the files that `load_tokenizer` reads, spm.model unchanged."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self._model)
        settings = {
            "tokenizer_class": "DebertaV2Tokenizer",
            "vocab_type": "spm",
            "do_lower_case": False,
            "split_by_punct": self._split_by_punct,
            "pad_token": PAD,
            "cls_token": CLS,
            "sep_token": SEP,
            "unk_token": UNK,
            "mask_token": MASK,
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        (folder / ADDED_FILE).write_text(json.dumps({MASK: self.mask_id}), encoding="utf-8")

    def to_bytes(self) -> bytes:
        """Serialize the tokenizer: [MASK]'s number, split_by_punct, the model file's content."""
        return HEADER.pack(self.mask_id, self._split_by_punct) + self._model

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Rebuild a tokenizer from `to_bytes`."""
        if len(data) < HEADER.size:
            raise TokenizerError(
                f"the tokenizer's bytes: {len(data)}, expected {HEADER.size} more."
            )
        mask_id, split_by_punct = HEADER.unpack_from(data)
        return cls(
            data[HEADER.size :],
            mask_id=mask_id,
            split_by_punct=split_by_punct,
            source="the tokenizer's bytes",
        )

    def __reduce__(self) -> tuple[Callable[[bytes], Self], tuple[bytes]]:
        return type(self).from_bytes, (self.to_bytes(),)


def _per_text(block: Ints, first: npt.NDArray[np.int64]) -> list[Pieces]:
    """One copy per text: a kept result keeps no other text's arrays alive."""
    return [Pieces(*block[:, a:b].copy()) for a, b in pairwise(first.tolist())]


def _read_model(model: bytes, source: str) -> sentencepiece.SentencePieceProcessor:
    """Let SentencePiece read a model whose size is in bounds."""
    if not 0 < len(model) <= MAX_MODEL_BYTES:
        raise TokenizerError(
            f"{source}: {len(model)} bytes, expected a SentencePiece model of 1 to "
            f"{MAX_MODEL_BYTES} bytes. Download the file again (an empty or tiny one is often a "
            "pointer to large-file storage)."
        )
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise TokenizerError(
            f"{source}: SentencePiece cannot read these {len(model)} bytes ({error}). Expected a "
            "model file such as DeBERTa-v3's spm.model; download it again."
        ) from error
    n_pieces = processor.get_piece_size()
    if not 0 < n_pieces <= MAX_PIECES:
        raise TokenizerError(f"{source}: has {n_pieces} pieces, expected 1 to {MAX_PIECES}.")
    return processor


def _special_id(processor: sentencepiece.SentencePieceProcessor, piece: str, source: str) -> int:
    """The number of a special piece that the model itself must have."""
    number = int(processor.piece_to_id(piece))
    if processor.id_to_piece(number) != piece:
        found = [processor.id_to_piece(i) for i in range(min(4, processor.get_piece_size()))]
        raise TokenizerError(
            f"{source}: no piece {piece!r}; DeBERTa's begin with {PAD}, {CLS}, {SEP}, {UNK}, "
            f"this one with {', '.join(found)}. Use the spm.model saved with the checkpoint."
        )
    return number


def _mask_id(
    processor: sentencepiece.SentencePieceProcessor, asked: int | None, source: str
) -> int:
    """The number of [MASK]: the model's own, the one asked for, or the first free one."""
    n_model = int(processor.get_piece_size())
    own = int(processor.piece_to_id(MASK))
    has_own = processor.id_to_piece(own) == MASK
    expected = own if has_own else n_model
    if asked is None or asked == expected or (not has_own and n_model < asked < MAX_PIECES):
        return expected if asked is None else asked
    raise TokenizerError(
        f"{source}: {MASK} is said to be number {asked}, but the model has {n_model} pieces and "
        f"expects {MASK} at {expected}. Use the files of one checkpoint together."
    )
