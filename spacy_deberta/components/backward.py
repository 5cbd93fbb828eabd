"""When the encoder's backward runs: the protocol between one encoder and its listeners.

An update of the encoder gives rows to the listeners, which report gradients later, each in the
update of its own component. Which of these components run is unknown to the encoder: some may be
frozen, disabled or excluded. So the backward runs at the first of:

    a) every mapped listener has reported
    b) `finish` is called and gradients have been reported          the end of a `spacy train` step
    c) the next update begins, or a prediction while an optimizer is waiting

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

from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.types import Heard


@dataclass(eq=False)
class Step:
    """One update of the encoder, open while gradients are collected.

    Attributes:
        docs: the Docs of the update; held, so that their identities stay theirs.
        rows: (n_tokens, width) per Doc.
        backprop: the encoder's backward, from one gradient per Doc.
        losses: where the squared norm of the reported gradients is added.
        name: of the encoder; the key of `losses`.
        waiting: ids of listeners that have not reported.
        n_open: outputs handed out whose gradient has not been reported.
        gradient: (n_tokens, width) per Doc; None before the first report.
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
    n_open: int = 0
    gradient: list[Floats2d] | None = None
    sgd: Optimizer | None = None
    on_close: Callable[[], None] | None = None
    closed: bool = False

    def locate(self, docs: Sequence[Doc]) -> list[int] | None:
        """The number of each Doc in this step; None if any is not in it."""
        numbers = {id(doc): number for number, doc in enumerate(self.docs)}
        found = [numbers.get(id(doc)) for doc in docs]
        known = [number for number in found if number is not None]
        return known if len(known) == len(docs) else None

    def add(self, numbers: Sequence[int], d_rows: Sequence[Floats2d], factor: float) -> None:
        """Add a gradient, never keeping the caller's arrays."""
        if factor == 0:
            return
        xp = get_array_module(self.rows[0])
        if self.gradient is None:
            self.gradient = [xp.zeros_like(rows) for rows in self.rows]
        for number, d in zip(numbers, d_rows, strict=True):
            self.gradient[number] += d * factor if factor != 1 else d
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
        if step is not None and step.gradient is None:
            step.sgd = sgd
            return
        if step is not None:
            self._close(step)
        self._apply(sgd)

    def listen(self, listener: int, docs: Sequence[Doc]) -> Heard | None:
        """Hand out rows to a listener; None if the Docs are not in the open step."""
        step = self._step
        numbers = None if step is None else step.locate(docs)
        if step is None or numbers is None:
            return None
        step.n_open += 1

        def report(d_rows: list[Floats2d], factor: float) -> None:
            if step.closed:
                raise PipelineError(
                    f"a listener's gradient reached the encoder '{step.name}' after the encoder's "
                    "step had ended; run the backward of a component before the next update or "
                    "finish_update of its encoder."
                )
            step.n_open -= 1
            step.waiting.discard(listener)
            step.add(numbers, d_rows, factor)
            if not step.waiting and not step.n_open:
                self.settle()

        return Heard([step.rows[number] for number in numbers], report)

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
