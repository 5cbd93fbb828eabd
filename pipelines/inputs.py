"""What users give: one input or many, how large they are, and how errors show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from spacy_deberta.errors import InputError

PREVIEW = 40  # characters of an input in messages

_COLUMNS = ("ndarray", "Series", "Array", "ChunkedArray", "Column")  # numpy, pandas, arrow


def is_column(value: object) -> bool:
    """Tell whether this is a batch that keeps its order: a list, or a column of some library."""
    return isinstance(value, list) or (
        type(value).__name__ in _COLUMNS
        and hasattr(value, "__len__")
        and hasattr(value, "__iter__")
        and getattr(value, "ndim", 1) != 0
    )


def is_stream(value: object) -> bool:
    """Tell whether this gives its items one by one: a generator, map, file, Dataset, ..."""
    if isinstance(value, str | bytes | bytearray | tuple | Mapping | set | frozenset):
        return False
    # a Doc; a table, which is refused; an array of no dimension, which is refused, too
    is_one = hasattr(value, "text") or hasattr(value, "columns") or getattr(value, "ndim", 1) == 0
    has_items = hasattr(value, "__len__") and hasattr(value, "__getitem__")  # torch's Dataset
    return (isinstance(value, Iterable) or has_items) and not is_one


def items_of(value: Any) -> Iterator[Any]:
    """The items of a batch or stream; of a Dataset that is not iterable, as many as its length."""
    if isinstance(value, Iterable):
        return iter(value)
    return (value[number] for number in range(len(value)))


def check_stream(value: object, expected: str) -> None:
    """Refuse what is one input where several are expected: a text has letters, a Doc tokens.

    Raises:
        InputError: says what was found.
    """
    if not isinstance(value, list | tuple) and not is_column(value) and not is_stream(value):
        advice = " Call the pipeline with one input, or give a list." if value is not None else ""
        raise InputError(f"found {describe(value)}, expected {expected}.{advice}")


def read_text(value: object, what: str = "input") -> str:
    """A text, or an InputError that says what it is instead.

    Args:
        value: from a user; objects with a `text`, such as Docs, count as their text.
        what: how the message calls it.
    """
    if isinstance(value, str):
        return str(value)
    text = getattr(value, "text", None)
    if not isinstance(text, str):
        refuse(value, "a text", what)
    return text


def refuse(value: object, expected: str, what: str = "input") -> NoReturn:
    """Raise an InputError about something that is not what a task reads, with advice."""
    advice = ""
    if isinstance(value, bytes | bytearray):
        advice = " Decode the bytes first: data.decode('utf-8')."
    elif isinstance(value, set | frozenset):
        advice = " A set has no order; give a list."
    elif isinstance(value, tuple):
        advice = " A tuple is one pair of texts; give several inputs as a list."
    elif isinstance(value, list):
        advice = " A list is a batch, and its items cannot be lists."
    raise InputError(f"{what}: found {describe(value)}, expected {expected}.{advice}")


def describe(value: object) -> str:
    """The kind of a value, with its beginning where that is short enough to help."""
    if value is None:
        return "None"
    return f"{type(value).__name__} {preview(value)}"


def preview(value: object) -> str:
    """The beginning of an input on one line, without control characters."""
    value = getattr(value, "text", value)  # of a Doc
    if isinstance(value, str):
        return ascii_controls(repr(value[:PREVIEW]) + ("..." if len(value) > PREVIEW else ""))
    if isinstance(value, Mapping):
        shown = (f"{preview(key)}: {preview(value[key])}" for key in list(value)[:3])
        return "{" + ", ".join(shown) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(preview(item) for item in value[:3]) + ")"
    if isinstance(value, bytes | bytearray):
        return repr(bytes(value[:PREVIEW]))
    try:
        return ascii_controls(repr(value)[:PREVIEW])
    except Exception:  # a foreign __repr__ must not hide the error that is being told
        return type(value).__name__


def ascii_controls(text: str) -> str:
    """A text with its control characters escaped, so that it stays on one line of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size_of(value: object) -> int:
    """Characters in an input, whatever it is made of."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(size_of(item) for item in value.values())
    if isinstance(value, tuple | list):
        return sum(size_of(item) for item in value)
    text = getattr(value, "text", None)
    return len(text) if isinstance(text, str) else 0
