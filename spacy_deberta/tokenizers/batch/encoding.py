"""What calling a tokenizer returns: columns for a model, and where each piece comes from."""

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.columns import (
    ATTENTION,
    IDS,
    make_columns,
    pad_columns,
    read_columns,
    to_values,
)
from spacy_deberta.tokenizers.batch.options import Padding
from spacy_deberta.tokenizers.batch.rows import NONE, Ints, Row
from spacy_deberta.tokenizers.encoding import Tokenizer


class BatchEncoding(UserDict[str, Any]):
    """Columns by name, also as attributes; `model(**encoding)` takes them.

    The methods take the number of a row; a single text has row 0. Positions count special pieces
    and padding.

    Args:
        data: the columns.
        rows: what they were made of.
        left: for each row, how much padding stands before it.
        widths: for each row, its length with padding.
        core: the vocabulary.
    """

    def __init__(
        self,
        data: dict[str, Any],
        rows: Sequence[Row] = (),
        left: Sequence[int] = (),
        widths: Sequence[int] = (),
        core: Tokenizer | None = None,
    ) -> None:
        super().__init__(data)
        self._rows, self._left, self._widths, self._core = rows, left, widths, core

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "data":
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"no column {name!r}; there are {', '.join(self.data)}") from None

    def to(self, device: Any, *, non_blocking: bool = False) -> Self:
        """Move the tensors, in place, to a device of torch."""
        for name, value in self.data.items():
            if hasattr(value, "to"):
                self.data[name] = value.to(device, non_blocking=non_blocking)
        return self

    def tokens(self, row: int = 0) -> list[str]:
        """The piece at each position."""
        found, core = self._row(row), self._core
        if core is None:
            raise TokenizerError("tokens: this encoding was not made from texts.")
        pad = core.piece(core.pad_id)
        strings = [core.piece(i) for i in found.ids(core.cls_id, core.sep_id).tolist()]
        return self._in_place(row, strings, pad)

    def word_ids(self, row: int = 0) -> list[int | None]:
        """The word of each position; None for special pieces and padding.

        Words are those that were given (`is_split_into_words`); else, what stands between
        whitespace. Those of a second text count from 0 again.
        """
        return self._numbers(row, self._row(row).words())

    def sequence_ids(self, row: int = 0) -> list[int | None]:
        """0 for the first text, 1 for the second, None for special pieces and padding."""
        return self._numbers(row, self._row(row).sequences())

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> tuple[int, int] | None:
        """Where the piece at a position stands in its text or word; None for special pieces.

        Args:
            batch_or_token_index: number of the row; the position, if it is the only argument.
            token_index: the position.
        """
        row, position = _row_and_value(batch_or_token_index, token_index)
        found = self._row(row)
        inner = position - self._left[row]
        if not 0 <= inner < len(found) or found.sequences()[inner] == NONE:
            return None
        start, end = found.offsets()[inner].tolist()
        return start, end

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The first position whose piece covers a character of a text; None if none does.

        Args:
            batch_or_char_index: number of the row; the character, if it is the only number.
            char_index: the character.
            sequence_index: 1 for the second text.
        """
        row, char = _row_and_value(batch_or_char_index, char_index)
        found = self._row(row)
        starts, ends = found.offsets().T
        covers = (starts <= char) & (char < ends)
        positions = self._positions(row, covers & (found.sequences() == sequence_index))
        return positions[0] if positions else None

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> tuple[int, int] | None:
        """The first position of a word's pieces and the one behind the last; None without any.

        Args:
            batch_or_word_index: number of the row; the word, if it is the only number.
            word_index: the word.
            sequence_index: 1 for the second text.
        """
        row, word = _row_and_value(batch_or_word_index, word_index)
        found = self._row(row)
        of_word = (found.words() == word) & (found.sequences() == sequence_index)
        positions = self._positions(row, of_word)
        return (positions[0], positions[-1] + 1) if positions else None

    def _row(self, number: int) -> Row:
        if not -len(self._rows) <= number < len(self._rows):
            raise TokenizerError(
                f"row {number}: this encoding has {len(self._rows)} row(s) made from texts."
            )
        return self._rows[number]

    def _positions(self, row: int, mask: npt.NDArray[np.bool_]) -> list[int]:
        """Positions, with padding, where a row's mask is true."""
        return (np.flatnonzero(mask) + self._left[row]).tolist()

    def _numbers(self, row: int, values: Ints) -> list[int | None]:
        return self._in_place(row, [None if v == NONE else v for v in values.tolist()], None)

    def _in_place(self, row: int, values: list[Any], fill: Any) -> list[Any]:
        """Values of a row without padding, at their positions with padding."""
        before = self._left[row]
        after = self._widths[row] - before - len(values)
        return [fill] * before + values + [fill] * after


def encode_rows(
    rows: Sequence[Row],
    names: Sequence[str],
    padding: Padding,
    core: Tokenizer,
    tensors: str | None,
) -> BatchEncoding:
    """Rows as columns: piece numbers and those of the given names.

    Args:
        rows: before padding.
        names: of columns.
        padding: how.
        core: the vocabulary.
        tensors: "pt", "np", or None for lists.
    """
    lengths = [len(row) for row in rows]
    widths = padding.widths(lengths)
    missing = [width - length for width, length in zip(widths, lengths, strict=True)]
    left = missing if padding.side == "left" else [0] * len(rows)
    columns = pad_columns(make_columns(rows, names, core), padding, core.pad_id)
    return BatchEncoding(to_values(columns, tensors), rows, left, widths, core)


def pad_encoded(
    given: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    padding: Padding,
    pad_id: int,
    *,
    with_attention: bool,
    tensors: str | None,
) -> BatchEncoding:
    """Columns that users give, padded.

    Args:
        given: of a batch, of one row, or row by row.
        padding: how.
        pad_id: number of [PAD].
        with_attention: make an attention mask where none is given.
        tensors: "pt", "np", or None for lists.
    """
    columns, is_batch = read_columns(given)
    if with_attention and ATTENTION not in columns:
        columns[ATTENTION] = [np.ones_like(row) for row in columns[IDS]]
    values = to_values(pad_columns(columns, padding, pad_id), tensors)
    if not is_batch and tensors is None:
        values = {name: rows[0] for name, rows in values.items()}
    return BatchEncoding(values)


def _row_and_value(first: int, second: int | None) -> tuple[int, int]:
    """The two numbers of a lookup; one alone is of the first row."""
    return (0, first) if second is None else (first, second)
