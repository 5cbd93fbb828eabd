"""What the public tokenizers know about pieces: numbers, strings, special ones, decoding."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.rows import number_of_specials
from spacy_deberta.tokenizers.encoding import Tokenizer
from spacy_deberta.tokenizers.special import CLS, MASK, PAD, SEP, UNK

# In this order; as "do n't , please" is written by tokenizers that split off endings.
CLEAN_UP = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)


class Vocabulary:
    """Pieces of one checkpoint, under the names that users of `transformers` know.

    Args:
        core: text to pieces and back.

    Attributes:
        core: the same.
    """

    pad_token = PAD
    cls_token = CLS
    sep_token = SEP
    unk_token = UNK
    mask_token = MASK
    bos_token = CLS
    eos_token = SEP
    pad_token_type_id = 0

    def __init__(self, core: Tokenizer) -> None:
        self.core = core

    @property
    def pad_token_id(self) -> int:
        """Number of [PAD]."""
        return self.core.pad_id

    @property
    def cls_token_id(self) -> int:
        """Number of [CLS]."""
        return self.core.cls_id

    @property
    def sep_token_id(self) -> int:
        """Number of [SEP]."""
        return self.core.sep_id

    @property
    def unk_token_id(self) -> int:
        """Number of [UNK]."""
        return self.core.unk_id

    @property
    def mask_token_id(self) -> int:
        """Number of [MASK]."""
        return self.core.mask_id

    @property
    def bos_token_id(self) -> int:
        """Number of [CLS], which begins a row."""
        return self.core.cls_id

    @property
    def eos_token_id(self) -> int:
        """Number of [SEP], which ends a row."""
        return self.core.sep_id

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special pieces, by what they are for."""
        roles = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
        return {f"{role}_token": getattr(self, f"{role}_token") for role in roles}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special pieces, each once."""
        users = (piece for piece, added in self.core.added.items() if added.special)
        return list(dict.fromkeys([*self.special_tokens_map.values(), *users]))

    @property
    def all_special_ids(self) -> list[int]:
        """Numbers of the special pieces."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    def get_vocab(self) -> dict[str, int]:
        """Every piece and its number."""
        return dict(self._numbers)

    def get_added_vocab(self) -> dict[str, int]:
        """The special pieces and those that users added, with their numbers, in order."""
        found = sorted(self.core.added.items(), key=lambda item: item[1].id)
        return {piece: added.id for piece, added in found}

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """Number by piece; numbers without a piece are left out."""
        strings = ((self.core.piece(i), i) for i in range(self.core.n_pieces))
        return {piece: i for piece, i in strings if piece != UNK or i == self.core.unk_id}

    @property
    def vocab_size(self) -> int:
        """Number of pieces without those that users added."""
        return len(self) - len(set(self.core.added) - set(self.special_tokens_map.values()))

    def __len__(self) -> int:
        return len(self._numbers)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special pieces stand around a text, or a pair."""
        return number_of_specials(2 if pair else 1)

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP]."""
        row = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return row if token_ids_1 is None else [*row, *token_ids_1, self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for [CLS] A [SEP], 1 for B [SEP]."""
        types = [0] * (len(token_ids_0) + 2)
        return types if token_ids_1 is None else types + [1] * (len(token_ids_1) + 1)

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 where a special piece stands, or would stand around these pieces, else 0.

        Args:
            token_ids_0: pieces.
            token_ids_1: those of a second text.
            already_has_special_tokens: the pieces are a whole row; [UNK] and [MASK] count too.

        Raises:
            TokenizerError: a whole row, and a second text.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise TokenizerError("already_has_special_tokens=True: give one row, not two.")
            special = set(self.all_special_ids)
            return [int(int(i) in special) for i in token_ids_0]
        first = [1, *[0] * len(token_ids_0), 1]
        return first if token_ids_1 is None else [*first, *[0] * len(token_ids_1), 1]

    @overload  # a string is one piece, not several of one letter
    def convert_tokens_to_ids(self, tokens: str) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int]:
        """Numbers of pieces; [UNK]'s for what is no piece."""
        if isinstance(tokens, str):
            found = self.core.piece_id(tokens)
            return self.unk_token_id if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str: ...
    @overload
    def convert_ids_to_tokens(
        self, ids: Iterable[int], skip_special_tokens: bool = False
    ) -> list[str]: ...
    def convert_ids_to_tokens(
        self, ids: int | Iterable[int], skip_special_tokens: bool = False
    ) -> str | list[str]:
        """Pieces by their numbers; "[UNK]" for a number that only pads the model's table.

        Raises:
            TokenizerError: a number below 0.
        """
        if isinstance(ids, int):
            return self._string(ids)
        numbers = self._kept(ids, skip_special_tokens=skip_special_tokens)
        return [self._string(i) for i in numbers]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Join pieces to a text."""
        return self.core.decode(self.convert_tokens_to_ids(tokens))

    def decode(
        self,
        token_ids: int | Iterable[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """Join pieces to a text, special pieces by name unless they are left out.

        Args:
            token_ids: numbers; a list, an array or a tensor.
            skip_special_tokens: leave all special pieces out, [UNK] among them.
            clean_up_tokenization_spaces: take out spaces before English punctuation and endings;
                not done unless asked for.
        """
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        text = self.core.decode(self._kept(ids, skip_special_tokens=skip_special_tokens))
        if clean_up_tokenization_spaces:
            for found, wanted in CLEAN_UP:
                text = text.replace(found, wanted)
        return text

    def batch_decode(
        self,
        sequences: Iterable[Iterable[int]],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """`decode` every row."""
        return [
            self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences
        ]

    def save_vocabulary(
        self, save_directory: str | Path, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary's files alone, without settings; returns their paths.

        Args:
            save_directory: made if absent.
            filename_prefix: stands before the names, with a hyphen.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        paths = []
        for name, content in self.core.vocabulary_files().items():
            path = folder / f"{prefix}{name}"
            path.write_bytes(content)
            paths.append(str(path))
        return tuple(paths)

    def _kept(self, ids: Iterable[Any], *, skip_special_tokens: bool) -> list[int]:
        """Numbers as Python's own, without special pieces if so wanted."""
        numbers = [int(i) for i in ids]
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return [i for i in numbers if i not in special]

    def _string(self, number: int) -> str:
        """The string of a piece; "[UNK]" above the vocabulary."""
        return self.core.piece(number) if number < self.core.n_pieces else UNK
