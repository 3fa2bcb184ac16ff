"""Arrays on a device: the library they are of, where they lie, and where a step's values lie in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = Any

SPOT = np.dtype([("data", "u8"), ("step", "i8"), ("row", "i4"), ("shift", "i2"), ("wrap", "i2")])
"""rnn_spot of interface.h."""

SOURCE = np.dtype([("data", "u8"), ("step", "i8"), ("row", "i4"), ("kept", "i4")])
"""rnn_source of interface.h."""


def namespace(x: Array) -> ModuleType:
    """The library whose array x is: CuPy, or NumPy, whose arrays stand in for a device's where there is none."""
    return sys.modules[type(x).__module__.partition(".")[0]]


def address(x: Array) -> int:
    """Where the numbers of x begin."""
    return x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr


@dataclass(frozen=True)
class Device:
    """A device by its number, the architecture that code is built for, and the stream that work is put on now."""

    number: int
    target: str
    stream: int


def device_of(x: Array) -> Device:
    """The device on which x lies. NumPy's arrays are on the host, for which there is code in the tests only."""
    if isinstance(x, np.ndarray):
        return Device(0, "host", 0)
    xp = namespace(x)
    return Device(x.device.id, x.device.compute_capability, xp.cuda.get_current_stream().ptr)


@dataclass(frozen=True)
class Spot:
    """rnn_spot of interface.h, with the array it lies in; first: the number that it begins at."""

    array: Array
    first: int = 0
    step: int = 0
    row: int = 0
    shift: int = 0
    wrap: int = -1

    @classmethod
    def of_units(cls, array: Array, first: int = 0) -> Spot:
        """A number per unit, the same for all rows and steps."""
        return cls(array, first)

    @classmethod
    def of_rows(cls, array: Array) -> Spot:
        """[N, units], the same place in all steps."""
        return cls(array, row=array.shape[1])

    @classmethod
    def of_steps(cls, array: Array, first: int = 0, shift: int = 0) -> Spot:
        """[steps, N, columns], from a column on; with two steps they are used in turn."""
        return cls(array, first, array.shape[1] * array.shape[2], array.shape[2], shift, 1 if len(array) == 2 else -1)

    @classmethod
    def of_weights(cls, array: Array, first_row: int = 0) -> Spot:
        """Weights [units, K], from a row on."""
        return cls(array, first_row * array.shape[1], row=array.shape[1])


def table(spots: Iterable[Spot]) -> np.ndarray:
    """Spots as the C interface takes them."""
    rows = [(address(s.array) + s.first * s.array.dtype.itemsize, s.step, s.row, s.shift, s.wrap) for s in spots]
    return np.array(rows, SPOT)
