"""One input after another: numbered, checked, run in blocks, errors treated as the caller asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from pipelines.batching import blocks
from pipelines.inputs import items_of, preview, size_of
from pipelines.options import Options, check_choice
from pipelines.records import Failed
from spacy_deberta.errors import DebertaError, HeadMissingError, InputError, OptionError

RAISE, SKIP, RETURN = "raise", "skip", "return"
POLICIES = (RAISE, SKIP, RETURN)

_OURS = (OptionError, HeadMissingError)  # about the pipeline, not about an item


@dataclass(frozen=True, eq=False)
class ItemError:
    """Why there is no record for an item."""

    error: Exception


class Runner(Protocol):
    """What a stream needs of a pipeline."""

    def prepare(self, raw: Any, options: Any) -> Any:
        """Check an input."""

    def run_items(self, items: Sequence[Any], options: Any) -> Iterator[Any]:
        """Records of checked inputs."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How a stream runs.

    Attributes:
        options: of the task.
        on_error: one of POLICIES.
        as_tuples: inputs are (input, context), results (record, context).
        n_items: most inputs looked at ahead.
        n_characters: the same, in characters.
        is_single: there is one input, and messages need not number it.
    """

    options: Options
    on_error: str
    as_tuples: bool = False
    n_items: int = 64
    n_characters: int = 1 << 16
    is_single: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown policy."""
        check_choice("on_error", self.on_error, POLICIES)


@dataclass(frozen=True, eq=False)
class Entry:
    """One input on its way: the checked item, or why there is none."""

    index: int
    raw: Any
    context: Any
    item: Any = None
    failed: ItemError | None = None
    ended: bool = False  # the source itself failed here


def run_stream(runner: Runner, inputs: Iterable[Any], plan: Plan) -> Iterator[Any]:
    """Records in the order of the inputs, a block at a time.

    Results of the inputs before a bad one are given before its error is raised.

    Raises:
        InputError: an input that a task cannot work on, with on_error="raise".
        OptionError: about the pipeline; always raised, like every error of the model.
    """
    sized = ((entry, size_of(entry.raw)) for entry in _read(runner, inputs, plan))
    for block in blocks(sized, plan.n_items, plan.n_characters):
        good = [entry.item for entry in block if entry.failed is None]
        results = runner.run_items(good, plan.options)
        for entry in block:
            result = next(results) if entry.failed is None else entry.failed
            if isinstance(result, ItemError):
                if entry.ended or plan.on_error == RAISE:
                    _raise(entry, result.error, plan)
                if plan.on_error == SKIP:
                    continue
                result = make_failed(entry.index, entry.raw, result.error)
            yield (result, entry.context) if plan.as_tuples else result


def make_failed(index: int, raw: Any, error: Exception) -> Failed:
    """What stands in the place of a record."""
    return Failed(index, type(error).__name__, str(error), _preview(raw))


def is_item_error(error: Exception) -> bool:
    """Tell whether an error is about one item, so that the others can go on."""
    return not isinstance(error, _OURS)


def _read(runner: Runner, inputs: Iterable[Any], plan: Plan) -> Iterator[Entry]:
    """Inputs, checked; ends behind the first bad one if that is to be raised."""
    index, source = 0, items_of(inputs)
    while True:
        try:
            given = next(source)
        except StopIteration:
            return
        except Exception as error:  # the source's own: told behind the results before it
            error.add_note(f"raised by the iterable of inputs, at input {index}")
            yield Entry(index, None, None, failed=ItemError(error), ended=True)
            return
        entry = _check(runner, index, given, plan)
        yield entry
        if entry.failed is not None and plan.on_error == RAISE:
            return
        index += 1


def _check(runner: Runner, index: int, given: Any, plan: Plan) -> Entry:
    raw, context = given, None
    try:
        if plan.as_tuples:
            if not isinstance(given, tuple) or len(given) != 2:  # noqa: PLR2004 - a pair
                raise InputError(f"found {preview(given)}, expected (input, context).")
            raw, context = given
        if isinstance(raw, Exception):  # an input that failed before it came here
            raise raw
        item = runner.prepare(raw, plan.options)
    except Exception as error:
        if not is_item_error(error):
            raise
        return Entry(index, raw, context, failed=ItemError(error))
    return Entry(index, raw, context, item)


def _raise(entry: Entry, error: Exception, plan: Plan) -> NoReturn:
    """Raise an item's error with its number and beginning."""
    if entry.ended:
        raise error
    place = f"input {_preview(entry.raw)}" if plan.is_single else f"input {entry.index}"
    if not isinstance(error, DebertaError):
        error.add_note(f"at {place}: {_preview(entry.raw)}")
        raise error
    if not plan.is_single:
        place += f" ({_preview(entry.raw)})"
    raise InputError(f"{place}: {error}") from error


def _preview(raw: Any) -> str:
    """The beginning of an input, or the kind of the error that stands in its place."""
    return type(raw).__name__ if isinstance(raw, Exception) else preview(raw)
