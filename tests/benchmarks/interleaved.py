"""Time several things in turn, so that slow changes of the machine meet them all.

A machine that does something else at the same time gives threads that wait for each other a much
longer time than a share of it. The kernel says how long the threads of this process were ready to
run and did not: passes in which they waited for more than a little are left out.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

WARM_UP = 3  # passes that do not count: tables per length, primitives per shape, memory
PAUSE = 0.02  # seconds before each pass, in which the threads of the one before go to sleep
LEAST_SECONDS = 6.0  # short passes are repeated more often, ...
MOST_SECONDS = 120.0  # ... disturbed ones again, until this time has passed, ...
MOST_REPEATS = 5  # ... or this many times as often as asked
UNDISTURBED = 0.03  # of the time of a pass, that its threads together may wait
FEWEST = 3  # passes that count in any case
NANO = 1e-9


@dataclass(frozen=True)
class Pass:
    """One pass.

    Attributes:
        seconds: on the clock.
        waited: seconds that threads waited for a processor, together.
    """

    seconds: float
    waited: float

    @property
    def disturbed(self) -> bool:
        """Whether other processes were in the way."""
        return self.waited > UNDISTURBED * self.seconds


@dataclass(frozen=True)
class Timing:
    """What was measured of one of them.

    Attributes:
        median: seconds.
        fastest: seconds.
        n_passes: how many count: the undisturbed ones, or three that waited least.
        disturbed: share of all passes.
    """

    median: float
    fastest: float
    n_passes: int
    disturbed: float


def measure_in_turn(
    calls: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: int = WARM_UP
) -> dict[str, Timing]:
    """Run all in turn until each has enough undisturbed passes; who begins changes."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    names = list(calls)
    passes: dict[str, list[Pass]] = {name: [] for name in names}
    began = time.perf_counter()
    for number in range(repeats * MOST_REPEATS):
        elapsed = time.perf_counter() - began
        enough = all(_undisturbed(found) >= repeats for found in passes.values())
        if elapsed > MOST_SECONDS or (enough and elapsed > LEAST_SECONDS):
            break
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            passes[name].append(_measure(calls[name]))
    return {name: _summarize(found) for name, found in passes.items()}


def _measure(call: Callable[[], object]) -> Pass:
    time.sleep(PAUSE)
    waited = _waited()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return Pass(seconds, _waited() - waited)


def _undisturbed(passes: list[Pass]) -> int:
    return sum(not one.disturbed for one in passes)


def _summarize(passes: list[Pass]) -> Timing:
    """Of the undisturbed passes, or of those that waited least."""
    n_undisturbed = _undisturbed(passes)
    ordered = sorted(passes, key=lambda one: one.waited / one.seconds)
    counted = [one.seconds for one in ordered[: max(n_undisturbed, FEWEST)]]
    disturbed = 1 - n_undisturbed / len(passes)
    return Timing(statistics.median(counted), min(counted), len(counted), disturbed)


def _waited() -> float:
    """Seconds that the threads of this process have waited until now; 0 where nobody knows."""
    total = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that ended in between
            total += int(file.read_text(encoding="ascii").split()[1])
    return total * NANO
