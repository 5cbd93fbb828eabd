"""The next step is cut and masked while the model is busy with this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from spacy_deberta.training.pretraining.data import Position, Step


class StepSource(Protocol):
    """What `data.Samples` gives to a run."""

    def step(
        self,
        start: Position,
        *,
        pieces: int,
        window: int,
        mask_share: float,
        rank: int = 0,
        world: int = 1,
    ) -> Step:
        """The step that begins at a position."""


@dataclass(frozen=True)
class StepShape:
    """What the schedules say of a step.

    Attributes:
        pieces: of the global batch.
        window: pieces.
        mask_share: of words.
    """

    pieces: int
    window: int
    mask_share: float


class StepsAhead:
    """Takes steps from a source, one ahead, in a thread.

    A step depends on its position and shape alone, so this changes nothing but the time.

    Args:
        source: of the steps.
        rank: of this process.
        world: number of processes.
    """

    def __init__(self, source: StepSource, rank: int, world: int) -> None:
        self._source = source
        self._rank, self._world = rank, world
        self._thread = ThreadPoolExecutor(1, "next-step")
        self._ordered: Future[Step] | None = None

    def order(self, start: Position, shape: StepShape) -> None:
        """Begin with a step."""
        self._ordered = self._thread.submit(
            self._source.step,
            start,
            pieces=shape.pieces,
            window=shape.window,
            mask_share=shape.mask_share,
            rank=self._rank,
            world=self._world,
        )

    def take(self) -> Step:
        """The step that was ordered, once it is there.

        Raises:
            RuntimeError: none was.
        """
        if self._ordered is None:
            raise RuntimeError("no step was ordered")
        return self._ordered.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
