"""The arguments of a forward pass, checked: a rectangle of pieces and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import DataError

# input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
Arguments = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_EMBEDDED = 3  # dimensions of (B, L, E)


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A batch as the caller gave it; whatever numbers stood in padding are replaced.

    Attributes:
        keep: (B, L) bool, true = a real piece.
        pieces: (B, L) ids; None where embeddings stand for them.
        embeddings: (B, L, embedding_size) or None.
        types: (B, L) segment ids or None.
        positions: (B, L) absolute positions; None = the column.
        full: every piece is real, because there was no mask.
    """

    keep: Tensor
    pieces: Tensor | None
    embeddings: Tensor | None
    types: Tensor | None
    positions: Tensor | None
    full: bool


def read_inputs(
    config: DebertaConfig,
    input_ids: Tensor | None,
    attention_mask: Tensor | None,
    token_type_ids: Tensor | None,
    position_ids: Tensor | None,
    inputs_embeds: Tensor | None,
) -> Rectangle:
    """Check the arguments that all models share.

    Args:
        config: sizes that the arguments must fit.
        input_ids: (B, L).
        attention_mask: (B, L) integers or bool, 1 = a real piece; None = all are.
        token_type_ids: (B, L) or (1, L); without effect where type_vocab_size is 0.
        position_ids: (B, L) or (1, L); of absolute positions only.
        inputs_embeds: (B, L, embedding_size) instead of input_ids.

    Raises:
        DataError: naming the argument, what was found and what is expected.
    """
    given = _pieces(input_ids, inputs_embeds, config.embedding_size)
    shape = given.shape[:2]
    keep = torch.ones(shape, dtype=torch.bool, device=given.device)
    if attention_mask is not None:
        keep = _mask(attention_mask, shape)
    pad = config.pad_token_id
    return Rectangle(
        keep=keep,
        pieces=None if input_ids is None else input_ids.long().masked_fill(~keep, pad),
        embeddings=inputs_embeds,
        types=_per_piece("token_type_ids", token_type_ids, keep),
        positions=_per_piece("position_ids", position_ids, keep),
        full=attention_mask is None,
    )


def check_range(name: str, values: Tensor, size: int) -> None:
    """Refuse what is below 0 or not below `size`: on a CUDA device it would end the process.

    Nothing is looked at while `torch.export` or `torch.compile` records the computation.

    Raises:
        DataError: naming the argument and the value.
    """
    if torch.compiler.is_compiling() or not values.numel():
        return
    low, high = (int(value) for value in values.aminmax())
    if low < 0 or high >= size:
        found = low if low < 0 else high
        raise DataError(f"{name}: found {found}, expected values from 0 to {size - 1}.")


def _pieces(input_ids: Tensor | None, inputs_embeds: Tensor | None, width: int) -> Tensor:
    """The one of the two arguments that was given."""
    if inputs_embeds is None and input_ids is not None:
        _check_integers("input_ids", input_ids)
        return input_ids
    if inputs_embeds is None or input_ids is not None:
        found = "neither" if inputs_embeds is None else "both"
        raise DataError(f"input_ids, inputs_embeds: found {found}, expected one of the two.")
    shape = inputs_embeds.shape
    if len(shape) != _EMBEDDED or shape[-1] != width or not inputs_embeds.is_floating_point():
        _refuse("inputs_embeds", inputs_embeds, f"(batch, length, {width}) of floats")
    return inputs_embeds


def _mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    if mask.shape != torch.Size(shape):
        _refuse("attention_mask", mask, f"{tuple(shape)}, one value for each piece")
    if mask.dtype not in (torch.bool, *_INTEGERS):
        _refuse("attention_mask", mask, "integers or bool, 1 = a real piece")
    if mask.dtype != torch.bool:
        check_range("attention_mask", mask, 2)
    return mask.bool()


def _per_piece(name: str, values: Tensor | None, keep: Tensor) -> Tensor | None:
    """(B, L) from (B, L), or from (1, L) that holds for every sequence; 0 in padding."""
    if values is None:
        return None
    _check_integers(name, values)
    if values.shape[1] != keep.shape[1] or values.shape[0] not in (1, keep.shape[0]):
        _refuse(name, values, f"{tuple(keep.shape)}, one value for each piece")
    return values.long().expand_as(keep).masked_fill(~keep, 0)


def _check_integers(name: str, values: Tensor) -> None:
    if values.ndim != 2 or values.dtype not in _INTEGERS:  # noqa: PLR2004 - (B, L)
        _refuse(name, values, "(batch, length) of integers")


def _refuse(name: str, values: Tensor, expected: str) -> NoReturn:
    found = f"shape {tuple(values.shape)} of {values.dtype}"
    raise DataError(f"{name}: found {found}, expected {expected}.")
