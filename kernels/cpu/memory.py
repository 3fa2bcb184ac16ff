"""Arrays whose memory is used again.

A fresh array of some megabytes costs a page fault for every 4 KiB when it is first written, which for a layer of
middle size is as long as its arithmetic. Blocks that a layer's call is done with are kept here for the next one.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import threading

import numpy as np

from .. import locks

SMALLEST = 1 << 16  # bytes, under which memory comes from NumPy
LEAST = 1 << 12  # bytes, under which it does not matter where an array begins
LINE = 64  # bytes of a cache line, and of the widest vector: one that lies across two lines takes twice as long
KEPT = 1 << 29  # bytes of unused blocks that are kept at most

BYTE = np.dtype(np.uint8)
_free: dict[int, list[np.ndarray]] = {}
_kept = 0
_turns = itertools.count()
_lock = locks.renewed_at_fork(globals(), "_lock", threading.RLock)  # a garbage collection within may give back another


_HEAD = object.__basicsize__  # bytes of what every Python object begins with


def address(array: np.ndarray) -> int:
    """Where an array's first number lies: the first field of NumPy's array struct (PyArrayObject).

    `array.__array_interface__` says the same, in five times the time; a small layer's call asks twenty times.
    """
    where: int = ctypes.c_void_p.from_address(id(array) + _HEAD).value or 0
    return where


class _Lease:
    """A block in use; it goes back when the last array on it is gone."""

    __slots__ = ("block", "__array_interface__")

    def __init__(self, block: np.ndarray):
        self.block = block
        where = address(block), False  # False: not read-only
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": block.shape, "data": where}

    def __del__(self) -> None:
        give_back(self.block)


def give_back(block: np.ndarray) -> None:
    """Keep a block for the next who asks."""
    global _kept
    if block.size < SMALLEST:
        return
    with _lock:
        if _kept + block.size > KEPT:  # begin anew: what lies here may be of sizes that nobody asks for now
            _free.clear()
            _kept = 0
        if block.size <= KEPT:
            _kept += block.size
            _free.setdefault(block.size, []).append(block)


def borrow(size: int) -> np.ndarray:
    """A block of at least so many bytes, to be given back."""
    global _kept
    if size < SMALLEST:
        return aligned(size)
    room = _rounded(size)
    with _lock:
        blocks = _free.get(room)
        if blocks:
            _kept -= room
            return blocks.pop()
    return aligned(room)


def aligned(size: int) -> np.ndarray:
    """Fresh bytes that begin with a cache line; large blocks one after the other with another line of their pages."""
    skew = 0 if size < SMALLEST else next(_turns) * 13 % 64 * LINE
    block = np.empty(size + skew + LINE, np.uint8)
    start = -address(block) % LINE + skew
    return block[start : start + size]


def empty(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of whatever numbers were there before; but for a very small one it begins with a cache line."""
    size = (math.prod(shape) if isinstance(shape, tuple) else shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    block = aligned(size) if size < SMALLEST else np.asarray(_Lease(borrow(size)))
    return np.ndarray(shape, dtype, block)


def empty_together(shapes: tuple[tuple[int, ...], ...], dtype: np.dtype) -> list[np.ndarray]:
    """Arrays in one block, in less time than one by one; it goes back when nothing holds any of them."""
    size, offsets = _side_by_side(shapes, dtype.itemsize)
    block = empty(size, BYTE)
    return [np.ndarray(shape, dtype, block, offset) for shape, offset in zip(shapes, offsets)]


@functools.lru_cache(1024)
def _side_by_side(shapes: tuple[tuple[int, ...], ...], itemsize: int) -> tuple[int, list[int]]:
    """The bytes that arrays take, each from the beginning of a cache line, and where they begin."""
    sizes = [-(-math.prod(shape) * itemsize // LINE) * LINE for shape in shapes]
    return sum(sizes), [0, *itertools.accumulate(sizes[:-1])]


def _rounded(size: int) -> int:
    """A size with three more binary digits after the first, at least as large: so that like sizes share blocks."""
    grain = 1 << max(size.bit_length() - 4, 0)
    return -(-size // grain) * grain


def zeros(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array
