"""When the encoder's backward runs: the protocol between one encoder and its listeners.

An update of the encoder gives rows to the listeners, which report gradients later, each in the
update of its own component. Which of these components run is unknown to the encoder: some may be
frozen, disabled or excluded. So the backward runs at the first of:

    a) every mapped listener has reported
    b) `finish` is called and gradients have been reported          the end of a `spacy train` step
    c) the next update begins, or a prediction while an optimizer is waiting

A listener that runs the encoder itself, on other input than the Docs, does its own backward when it
reports: the gradient waits in the encoder's parameters for the same optimizer.

`Language.update(sgd=...)` calls the encoder's `finish_update` before the listeners run. Then no
gradient is there yet: the optimizer waits, and steps right after the backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc
from thinc.api import Optimizer, get_array_module
from thinc.types import Floats2d

from spacy_deberta.components.parts import are_parts
from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.types import EncodedDoc, Heard

Columns = slice | Sequence[int]

ALL_COLUMNS = slice(None)


@dataclass(frozen=True, eq=False)
class HeardRows:
    """The part of a step's rows that was handed out: Docs by number, and columns."""

    numbers: Sequence[int]
    columns: Columns


@dataclass(eq=False)
class Step:
    """One update of the encoder, open while gradients are collected.

    Attributes:
        docs: the Docs of the update; held, so that their identities stay theirs.
        rows: (n_tokens, columns) per Doc: the rows of the layers in use, side by side.
        backprop: the encoder's backward, from one gradient per Doc.
        losses: where the squared norm of the reported gradients is added.
        name: of the encoder; the key of `losses`.
        waiting: ids of listeners that have not reported.
        encoded: what a frozen encoder predicted; None for an encoder that is being trained.
        n_open: outputs handed out whose gradient has not been reported.
        gradient: as `rows`; None before the first report.
        lent: the encoder's parameters hold a gradient of a run that a listener made itself.
        sgd: an optimizer that waits for the backward.
        on_close: called when the step ends.
        closed: the backward has run, or never will.
    """

    docs: Sequence[Doc]
    rows: list[Floats2d]
    backprop: Callable[[list[Floats2d]], Any]
    losses: dict[str, float]
    name: str
    waiting: set[int]
    encoded: list[EncodedDoc] | None = None
    n_open: int = 0
    gradient: list[Floats2d] | None = None
    lent: bool = False
    sgd: Optimizer | None = None
    on_close: Callable[[], None] | None = None
    closed: bool = False

    def locate(self, docs: Sequence[Doc]) -> list[int] | None:
        """The number of each Doc in this step; None if any is not in it."""
        numbers = {id(doc): number for number, doc in enumerate(self.docs)}
        found = [numbers.get(id(doc)) for doc in docs]
        known = [number for number in found if number is not None]
        return known if len(known) == len(docs) else None

    @property
    def trains(self) -> bool:
        """Whether gradients change anything."""
        return self.encoded is None

    def add(self, heard: HeardRows, d_rows: Sequence[Floats2d], factor: float) -> None:
        """Add a gradient, never keeping the caller's arrays."""
        if factor == 0 or not self.trains:
            return
        xp = get_array_module(self.rows[0])
        if self.gradient is None:
            self.gradient = [xp.zeros_like(rows) for rows in self.rows]
        for number, d in zip(heard.numbers, d_rows, strict=True):
            taken: Any = self.gradient[number]
            taken[:, heard.columns] += d * factor if factor != 1 else d
        flat = xp.concatenate([xp.ravel(d) for d in d_rows])
        self.losses[self.name] += factor**2 * float(flat @ flat)


class BackwardProtocol:
    """Keeps the open step of one encoder.

    Args:
        apply: steps the encoder's weights with an optimizer.
    """

    def __init__(self, apply: Callable[[Optimizer], None]) -> None:
        self._apply = apply
        self._step: Step | None = None

    def open(self, step: Step) -> None:
        """Begin to collect gradients for a step; the one before must have been settled."""
        self._step = step

    def is_open_for(self, docs: Sequence[Doc]) -> bool:
        """Whether these Docs are in the open step."""
        return self._step is not None and self._step.locate(docs) is not None

    def predicted(self, docs: Sequence[Doc]) -> list[EncodedDoc] | None:
        """What a frozen encoder predicted for these Docs in the open step."""
        encoded = self._step.encoded if self._step is not None else None
        numbers = self._step.locate(docs) if self._step is not None else None
        if encoded is None or numbers is None:
            return None
        return [encoded[number] for number in numbers]

    def settle(self) -> None:
        """Rule c: bring the open step to its end with what has been reported."""
        step = self._step
        if step is not None:
            self._close(step)
            if step.sgd is not None:
                self._apply(step.sgd)

    def settle_waiting(self) -> None:
        """Rule c for a prediction: only if an optimizer is waiting are weights out of date."""
        if self._step is not None and self._step.sgd is not None:
            self.settle()

    def finish(self, sgd: Optimizer) -> None:
        """Rule b; without a reported gradient the optimizer waits for one."""
        step = self._step
        if step is not None and step.gradient is None and not step.lent:
            step.sgd = sgd
            return
        if step is not None:
            self._close(step)
        self._apply(sgd)

    def listen(
        self, listener: int, docs: Sequence[Doc], columns: Columns = ALL_COLUMNS
    ) -> Heard | None:
        """Hand out columns of the rows; None if the Docs are not in the open step."""
        step = self._step
        numbers = None if step is None else step.locate(docs)
        if step is None or numbers is None:
            return None
        step.n_open += 1

        def report(d_rows: list[Floats2d], factor: float) -> None:
            self._take_report(step, listener)
            step.add(HeardRows(numbers, columns), d_rows, factor)
            self._settle_if_complete(step)

        xp = get_array_module(step.rows[0])
        whole: list[Any] = [step.rows[number] for number in numbers]
        return Heard([xp.ascontiguousarray(rows[:, columns]) for rows in whole], report)

    def waits_for(self, listener: int) -> bool:
        """Whether a step is open in which this listener has not reported."""
        step = self._step
        return step is not None and step.trains and listener in step.waiting

    def lend(
        self, listener: int, parts: Sequence[Doc] = ()
    ) -> Callable[[Callable[[], float]], None] | None:
        """Let a listener run the encoder itself; None if no step waits for it.

        Args:
            listener: its id.
            parts: Docs that it wants to read, which must be cut out of those of the step.

        Returns:
            Takes the backward of that run, which returns the squared norm of its gradient.
        """
        step = self._step
        if step is None or not self.waits_for(listener) or not are_parts(parts, step.docs):
            return None
        step.n_open += 1

        def report(backward: Callable[[], float]) -> None:
            self._take_report(step, listener)
            step.losses[step.name] += backward()
            step.lent = True
            self._settle_if_complete(step)

        return report

    def _take_report(self, step: Step, listener: int) -> None:
        if step.closed:
            raise PipelineError(
                f"a listener's gradient reached the encoder '{step.name}' after the encoder's "
                "step had ended; run the backward of a component before the next update or "
                "finish_update of its encoder."
            )
        step.n_open -= 1
        step.waiting.discard(listener)

    def _settle_if_complete(self, step: Step) -> None:
        if not step.waiting and not step.n_open:
            self.settle()

    def _close(self, step: Step) -> None:
        self._step = None
        step.closed = True
        if step.on_close is not None:
            step.on_close()
        if step.gradient is not None:
            step.backprop(step.gradient)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: an open step stays with the original."""
        return {**self.__dict__, "_step": None}
