"""Columns of a batch: one array per row, padded to a rectangle, as lists or tensors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.options import Padding
from spacy_deberta.tokenizers.batch.rows import Row
from spacy_deberta.tokenizers.encoding import Tokenizer

IDS = "input_ids"
TYPES = "token_type_ids"
ATTENTION = "attention_mask"
SPECIAL = "special_tokens_mask"
OFFSETS = "offset_mapping"
SAMPLES = "overflow_to_sample_mapping"

Array = npt.NDArray[np.number]
Columns = dict[str, list[Array]]

# What stands in padding; that of the piece numbers is [PAD]'s.
PAD_VALUES = {TYPES: 0, ATTENTION: 0, SPECIAL: 1, OFFSETS: 0}


def make_columns(rows: Sequence[Row], names: Iterable[str], core: Tokenizer) -> Columns:
    """The columns of that names, beside the piece numbers, before padding."""
    makers: dict[str, Callable[[Row], Array]] = {
        TYPES: Row.types,
        ATTENTION: lambda row: np.ones(len(row), dtype=np.int32),
        SPECIAL: Row.special,
        OFFSETS: Row.offsets,
        SAMPLES: lambda row: np.array(row.sample),
    }
    columns: Columns = {IDS: [row.ids(core.cls_id, core.sep_id) for row in rows]}
    return columns | {name: list(map(makers[name], rows)) for name in names}


def pad_columns(columns: Mapping[str, Sequence[Array]], padding: Padding, pad_id: int) -> Columns:
    """Bring the rows of every column to their widths, by those of the piece numbers.

    Args:
        columns: (L,) or (L, 2) for each row; columns that are not known stay as they are.
        padding: how.
        pad_id: number of [PAD].
    """
    values = {IDS: pad_id, **PAD_VALUES}
    widths = padding.widths([len(row) for row in columns[IDS]])
    return {
        name: [
            _padded(row, width, values[name], padding.side)
            for row, width in zip(rows, widths, strict=True)
        ]
        if name in values
        else list(rows)
        for name, rows in columns.items()
    }


def _padded(row: Array, width: int, value: int, side: str) -> Array:
    missing = width - len(row)
    if missing <= 0:
        return row
    fill = np.full((missing, *row.shape[1:]), value, dtype=row.dtype)
    return np.concatenate([fill, row] if side == "left" else [row, fill])


def to_values(columns: Mapping[str, Sequence[Array]], tensors: str | None) -> dict[str, Any]:
    """Columns as users get them: lists of rows, or tensors "pt" or "np" of 64-bit integers.

    Raises:
        TokenizerError: tensors of rows of different lengths.
    """
    if tensors is None:
        return {name: [_to_list(row) for row in rows] for name, rows in columns.items()}
    return {name: _to_tensor(name, rows, tensors) for name, rows in columns.items()}


def _to_list(row: Array) -> Any:
    """A row as Python's numbers; offsets as pairs."""
    return list(zip(*row.T.tolist(), strict=True)) if row.ndim > 1 else row.tolist()


def _to_tensor(name: str, rows: Sequence[Array], kind: str) -> Any:
    shapes = sorted({row.shape for row in rows})
    if len(shapes) > 1:
        raise TokenizerError(
            f"return_tensors={kind!r}: {name} has rows of shapes {shapes[0]} to {shapes[-1]}; a "
            "tensor needs one. Use padding=True, and truncation=True with a max_length."
        )
    stacked = np.stack(rows) if rows else np.zeros((0, 0), dtype=np.int64)
    is_float = np.issubdtype(stacked.dtype, np.floating)
    array = stacked.astype(np.float32 if is_float else np.int64)
    if kind == "np":
        return array
    import torch

    return torch.from_numpy(array)


def read_columns(given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[Columns, bool]:
    """Columns that users give: of a batch, of one row, or row by row; and whether it is a batch.

    Raises:
        TokenizerError: no piece numbers, or rows with other columns than the first.
    """
    if not isinstance(given, Mapping):
        names = list(given[0]) if given else [IDS]
        odd = next((i for i, row in enumerate(given) if list(row) != names), None)
        if odd is not None:
            raise TokenizerError(
                f"row {odd} has the columns {', '.join(given[odd])}; the first has "
                f"{', '.join(names)}. Give all rows the same."
            )
        given = {name: [row[name] for row in given] for name in names}
    if IDS not in given:
        raise TokenizerError(f"no {IDS} among the columns {', '.join(given)}; they are needed.")
    ids = given[IDS]
    is_batch = len(ids) == 0 or np.ndim(ids[0]) > 0
    columns = {
        name: [np.asarray(row) for row in (values if is_batch else [values])]
        for name, values in given.items()
    }
    return columns, is_batch
