"""Batches through a model: memory that runs out, values that are no numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.batching import Row, plan_batches
from spacy_deberta.errors import PipelineError

Forward = Callable[[Sequence[Row]], list[Any]]


def run_batches(rows: Sequence[Row], forward: Forward, budget: int, most: int) -> list[Any]:
    """Results of all rows, in their order.

    A batch that does not fit into memory is run in halves.

    Args:
        rows: of any lengths.
        forward: rows of one batch -> one result for each.
        budget: pieces of a batch.
        most: rows of a batch.

    Raises:
        PipelineError: a single row does not fit into memory; names its length.
    """
    results: list[Any] = [None] * len(rows)
    for numbers in plan_batches([len(row) for row in rows], budget, most):
        batch = [rows[number] for number in numbers]
        for number, result in zip(numbers, _halving(batch, forward), strict=True):
            results[number] = result
    return results


def check_finite(output: Any, find: Callable[[], str]) -> None:
    """Refuse results that are no finite numbers: they would become confident nonsense.

    Args:
        output: of a model.
        find: names the first place where they are not finite.

    Raises:
        PipelineError: names that place.
    """
    for name, value in output.items():
        if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            raise PipelineError(
                f"{name}: the model's results are not finite; the first such values are in "
                f"{find()}. Check the weights, or use dtype='float32'."
            )


def first_broken(states: Sequence[Tensor]) -> str:
    """Which of the embeddings and layers is the first with values that are not finite.

    Args:
        states: (B, L, width) of the embeddings and of each layer.
    """
    for number, state in enumerate(states):
        if not bool(torch.isfinite(state).all()):
            return f"layer {number} of {len(states) - 1}" if number else "the embeddings"
    return "the head"


def _halving(batch: Sequence[Row], forward: Forward) -> list[Any]:
    try:
        return forward(batch)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise PipelineError(
                f"out of memory with one row of {len(batch[0])} pieces. Give a smaller "
                "max_length, or another device or dtype."
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    return _halving(batch[:half], forward) + _halving(batch[half:], forward)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: on the CPU, torch says so in a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(
        error
    )
