"""Random numbers that depend on what they are for and on nothing else.

A generator hands out numbers in turn, so what one sample gets depends on what was asked before.
Here a number is computed from (seed, epoch, sample, stream, place): any process can draw for any
sample at any time, thousands at once, and gets the same on every machine.

Source of the mixing: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"
(SplitMix64, with Stafford's constants).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

_STEP: Final = 0x9E3779B97F4A7C15  # odd, 2**64 / golden ratio: places become far apart
_BITS_64: Final = 2**64 - 1
_TO_UNIT: Final = 2.0**-53  # the upper 53 bits as a float64 in [0, 1)


def epoch_key(seed: int, epoch: int) -> int:
    """The key of an epoch; keys of its samples are made from it."""
    key = np.asarray([seed & _BITS_64], dtype=np.uint64)
    return int(_mix(_mix(key) + np.uint64(epoch & _BITS_64))[0])


def sample_keys(epoch_keys: UInt64, samples: npt.NDArray[np.int64]) -> UInt64:
    """A key for each sample, (S,), from the key of its epoch, (S,), and its number."""
    return _mix(epoch_keys + samples.astype(np.uint64) * np.uint64(_STEP))


def draw(keys: UInt64, stream: int, places: npt.NDArray[np.int64]) -> Float64:
    """Uniform numbers in [0, 1).

    Args:
        keys: (N,) of the samples that the numbers are for.
        stream: what they are for; other streams are independent.
        places: (N,) in the sample.
    """
    offset = np.uint64(stream * 0xD1342543DE82EF95 & _BITS_64)
    bits = _mix(_mix(keys ^ offset) + places.astype(np.uint64) * np.uint64(_STEP))
    return np.asarray((bits >> np.uint64(11)) * _TO_UNIT)


def shuffled(key: int, n: int) -> npt.NDArray[np.int64]:
    """The numbers below n, (n,), in an order that depends on the key."""
    places = np.arange(n, dtype=np.uint64)
    return np.argsort(_mix(np.uint64(key) + places * np.uint64(_STEP)), kind="stable")


def _mix(bits: UInt64) -> UInt64:
    """Scramble 64 bits each; one to one."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
