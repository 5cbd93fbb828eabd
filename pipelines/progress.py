"""A progress bar on stderr for whatever is iterated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def watch(items: Iterable[T], title: str) -> Iterator[T]:
    """The items, with a bar that counts those that were taken; its end is known for lists."""
    from rich.console import Console
    from rich.progress import Progress

    total = len(items) if isinstance(items, Sized) else None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        for item in items:
            yield item
            bar.advance(task)
