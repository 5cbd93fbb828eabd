"""Equality of results whose inputs shared a batch with others: numbers agree within 1e-5.

A library may sum the same products in another order when there are more rows.
"""

from dataclasses import asdict, is_dataclass
from typing import Any

import pytest

TOLERANCE = 1e-5


def same(found: Any, expected: Any) -> bool:
    """Whether two records, or lists of them, are equal but for the last digits of numbers."""
    if is_dataclass(found) and not isinstance(found, type):
        return type(found) is type(expected) and same(asdict(found), asdict(expected))
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(found, list | tuple):
        if type(found) is not type(expected) or len(found) != len(expected):
            return False
        return all(same(*pair) for pair in zip(found, expected, strict=True))
    if isinstance(found, float):
        return bool(found == pytest.approx(expected, abs=TOLERANCE))
    return bool(found == expected)
