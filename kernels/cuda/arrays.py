"""Arrays on a device: their library, their addresses, and the operands of a kernel that lie in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = Any

OPERAND = np.dtype([("data", "u8"), ("step", "i8"), ("row", "i4"), ("shift", "i2"), ("wrap", "i2")])
"""rnn_operand of interface.h."""

SOURCE = np.dtype([("data", "u8"), ("step", "i8"), ("row", "i4"), ("offset", "i4")])
"""rnn_source of interface.h."""


def namespace(x: Array) -> ModuleType:
    """Return the library of the array x: CuPy, or NumPy, which stands in for CuPy in the tests."""
    return sys.modules[type(x).__module__.partition(".")[0]]


def address(x: Array) -> int:
    """Return the address of the first number of x."""
    return x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr


@dataclass(frozen=True)
class Device:
    """A device: its number, the architecture that code is built for, and the current stream."""

    number: int
    target: str
    stream: int


def device_of(x: Array) -> Device:
    """Return the device of x. NumPy's arrays are on the host; only the tests build code for it."""
    if isinstance(x, np.ndarray):
        return Device(0, "host", 0)
    xp = namespace(x)
    return Device(x.device.id, x.device.compute_capability, xp.cuda.get_current_stream().ptr)


@dataclass(frozen=True)
class Operand:
    """rnn_operand of interface.h, with its array. first: the number in the array at which the operand begins."""

    array: Array
    first: int = 0
    step: int = 0
    row: int = 0
    shift: int = 0
    wrap: int = -1

    @classmethod
    def of_units(cls, array: Array, first: int = 0) -> Operand:
        """Return the operand of [units]: the same for all rows and steps."""
        return cls(array, first)

    @classmethod
    def of_rows(cls, array: Array) -> Operand:
        """Return the operand of [N, units]: the same for all steps."""
        return cls(array, row=array.shape[1])

    @classmethod
    def of_steps(cls, array: Array, first: int = 0, shift: int = 0) -> Operand:
        """Return the operand of [steps, N, columns] from the column `first` on. Two steps are slots, used in turn."""
        return cls(array, first, array.shape[1] * array.shape[2], array.shape[2], shift, 1 if len(array) == 2 else -1)

    @classmethod
    def of_weights(cls, array: Array, first_row: int = 0) -> Operand:
        """Return the operand of weights [units, K] from the row `first_row` on."""
        return cls(array, first_row * array.shape[1], row=array.shape[1])


def table(operands: Iterable[Operand]) -> np.ndarray:
    """Return the operands as the C interface takes them."""
    rows = [(address(s.array) + s.first * s.array.dtype.itemsize, s.step, s.row, s.shift, s.wrap) for s in operands]
    return np.array(rows, OPERAND)
