"""JSON from users: one value, or an error that names its place. Numbers are finite."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from spacy_deberta.errors import DataError


def parse_json(text: str) -> object:
    """The value in a text; NaN and infinite numbers are no JSON.

    Raises:
        ValueError: it is none.
        RecursionError: lists in lists, too deep.
    """
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def read_json(text: str, place: str) -> object:
    """The value in a text.

    Args:
        text: a line, or a whole file.
        place: file and line, for the message.

    Raises:
        DataError: it is no JSON, or has what no Doc can hold: NaN, infinite numbers, and halves of
            surrogate pairs.
    """
    try:
        value = parse_json(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # raises at lone surrogates
    except UnicodeEncodeError as error:
        lone = error.object[error.start : error.end].encode("unicode_escape").decode()
        raise DataError(f"{place}: found the lone surrogate {lone}, expected a text.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: no JSON ({error}).") from error
    return value


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no number of JSON; null is for a missing one")
