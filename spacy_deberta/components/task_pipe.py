"""What the task components share: one bad Doc in a batch, and settings changed at loading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from spacy import util
from spacy.tokens import Doc

_SAVED = "configured"  # key of `cfg`


class TaskPipe:
    """Stands before TrainablePipe among the bases of a component.

    Attributes:
        cfg: what is saved of the component beside its model.
    """

    cfg: dict[str, Any]
    _configured: dict[str, Any]

    def remember_settings(self, settings: dict[str, Any]) -> None:
        """Take note of the settings that the config gives, to see at loading which are changed."""
        self._configured = dict(settings)
        self.cfg[_SAVED] = dict(settings)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of Docs, in order.

        If a batch fails, its Docs are tried one by one, and the error handler gets only those that
        fail alone.
        """
        this: Any = self
        batches: Iterator[list[Doc]] = util.minibatch(stream, size=batch_size)  # type: ignore[no-untyped-call]
        for docs in batches:
            try:
                this.set_annotations(docs, this.predict(docs))
                done = docs
            except Exception:
                done = [doc for doc in docs if this(doc) is not None]
            yield from done

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> Self:
        """Read what `to_bytes` wrote."""
        base: Any = super()
        base.from_bytes(bytes_data, exclude=exclude)
        self._keep_overrides()
        return self

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Read what `to_disk` wrote; settings given to `spacy.load` win."""
        base: Any = super()
        base.from_disk(path, exclude=exclude)
        self._keep_overrides()
        return self

    def _keep_overrides(self) -> None:
        """Settings of the config win over saved ones where they differ from the saved config."""
        given = getattr(self, "_configured", {})
        saved = self.cfg.get(_SAVED, given)  # a pipeline from before there was this key
        self.cfg.update({key: value for key, value in given.items() if saved.get(key) != value})
        self.cfg[_SAVED] = dict(given)
