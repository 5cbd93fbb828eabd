"""What all records are, and the one that stands for a failure."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


class Record(ABC):
    """Base of all records."""

    __slots__ = ()

    @abstractmethod
    def to_dict(self) -> Any:
        """The record with the keys that `transformers` uses; only what JSON knows."""

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Failed(Record):
    """Stands for the record of an input that failed, with on_error="return".

    Attributes:
        index: of the input, from 0.
        error_type: name of the error's class.
        message: of the error.
        preview: beginning of the input.
    """

    index: int
    error_type: str
    message: str
    preview: str

    def to_dict(self) -> dict[str, Any]:
        """Index, class, message and preview."""
        return {
            "index": self.index,
            "error_type": self.error_type,
            "message": self.message,
            "preview": self.preview,
        }
