"""Arrays in memory blocks that are reused.

The first write to a fresh array costs a page fault for every 4 KiB. For a layer of middle size, these faults take as
long as the arithmetic. So this file keeps the blocks that a layer's call no longer needs, for the next call. A block
that is not reused for PERIOD seconds goes back to the system, but the last ALWAYS_KEPT bytes stay. `release` gives back
all blocks.

Threads share the unused blocks without a lock, which would take longer than the rest. A list's `append` and `pop` are
atomic, so a block has one user at a time. A race can lose a block: it goes back to the system. A race can also lose a
block's size from the sum of all sizes: so the sum is counted again before it is a reason to drop a block.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import functools
import itertools
import math
import threading
import time

import numpy as np

from ...runtime import locks
from ...runtime.bounded import on_release

SMALLEST = 1 << 16  # bytes: smaller blocks come from NumPy
LEAST = 1 << 12  # bytes: smaller arrays need no alignment
LINE = 64  # bytes of a cache line and of the widest vector: a vector across two lines takes twice as long
MOST_KEPT = 1 << 29  # most bytes of unused blocks
ALWAYS_KEPT = 1 << 26  # bytes of unused blocks that stay however long they are unused
PERIOD = 3.0  # an unused block goes back after one to two times as many seconds

BYTE = np.dtype(np.uint8)
_free: dict[int, list[tuple[np.ndarray, int]]] = {}  # by size: each block, and the period in which it came back
_kept = 0  # bytes of all unused blocks
_period = 0
_watched = locks.renewed_at_fork(globals(), "_watched", bool)  # whether a thread drops unused blocks
_turns = itertools.count()
_lock = locks.renewed_at_fork(globals(), "_lock", threading.RLock)  # guards the dropping of blocks


_HEAD = object.__basicsize__  # bytes of the head of every Python object


def address(array: np.ndarray) -> int:
    """Return the address of an array's first number: the first field of NumPy's array struct (PyArrayObject).

    `array.__array_interface__` has it, too, but takes five times as long, and a call of a small layer needs it twenty
    times.
    """
    where: int = ctypes.c_void_p.from_address(id(array) + _HEAD).value or 0
    return where


class _Lease:
    """A block in use. It becomes unused when the last array on it is deleted."""

    __slots__ = ("block", "__array_interface__")

    def __init__(self, block: np.ndarray):
        self.block = block
        where = address(block), False  # False: not read-only
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": block.shape, "data": where}

    def __del__(self) -> None:
        give_back(self.block)


def give_back(block: np.ndarray) -> None:
    """Keep a block for reuse."""
    global _kept
    size = block.size
    if size < SMALLEST:
        return
    if _kept + size > MOST_KEPT and _counted() + size > MOST_KEPT:  # nobody may need the sizes of these blocks any more
        _free.clear()
        _kept = 0
    if size <= MOST_KEPT:
        _kept += size
        _free.setdefault(size, []).append((block, _period))
    if _kept > ALWAYS_KEPT and not _watched:
        _watch()


def _counted() -> int:
    """Count the bytes of all unused blocks again."""
    global _kept
    _kept = sum(size * len(blocks) for size, blocks in list(_free.items()))
    return _kept


def _watch() -> None:
    """Start the thread that drops unused blocks.

    A garbage collection may run this anywhere, also where the lock of `threading` is held. So do not use `threading`.
    """
    global _watched
    with locks.held(_lock), contextlib.suppress(RuntimeError):  # the interpreter is ending: no thread can start
        if not _watched:
            _thread.start_new_thread(_drop_periodically, ())
            _watched = True


def _drop_periodically() -> None:
    global _watched
    go_on = True
    while go_on:
        time.sleep(PERIOD)
        with locks.held(_lock):
            dropped = _drop_unused()
            _watched = go_on = _counted() > ALWAYS_KEPT
        if dropped:
            _trim()


def _drop_unused() -> bool:
    """Drop blocks unused since before the period that ends now, large ones first, until ALWAYS_KEPT bytes are left."""
    global _period
    dropped, above = 0, _counted() - ALWAYS_KEPT
    for size in sorted(_free, reverse=True):
        blocks = _free.get(size, [])
        with contextlib.suppress(IndexError):  # another thread took the last one
            while dropped < above and blocks[0][1] < _period:  # the oldest first
                del blocks[0]
                dropped += size
        if not blocks:
            _free.pop(size, None)
    _period += 1
    return dropped > 0


def _trim() -> None:
    """Ask the C library to give its own unused memory back to the system, if it has such a call."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


@on_release
def release() -> None:
    """Give back all unused blocks."""
    global _kept
    _free.clear()
    _kept = 0
    _trim()


def borrow(size: int) -> np.ndarray:
    """Return a block of at least `size` bytes. The caller must give it back."""
    global _kept
    if size < SMALLEST:
        return aligned(size)
    rounded = _rounded(size)
    try:
        block, _ = _free[rounded].pop()
    except (KeyError, IndexError):
        return aligned(rounded)
    _kept -= rounded
    return block


def aligned(size: int) -> np.ndarray:
    """Return new memory that begins at a cache line. Large blocks begin at different lines of their pages, in turn."""
    skew = 0 if size < SMALLEST else next(_turns) * 13 % 64 * LINE
    block = np.empty(size + skew + LINE, np.uint8)
    start = -address(block) % LINE + skew
    return block[start : start + size]


def empty(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array with arbitrary numbers. Unless it is very small, it begins at a cache line."""
    size = (math.prod(shape) if isinstance(shape, tuple) else shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    block = aligned(size) if size < SMALLEST else np.asarray(_Lease(borrow(size)))
    return np.ndarray(shape, dtype, block)


def empty_together(shapes: tuple[tuple[int, ...], ...], dtype: np.dtype) -> list[np.ndarray]:
    """Return arrays in one block, which is faster than one by one. The block is in use as long as any of them is."""
    size, offsets = _side_by_side(shapes, dtype.itemsize)
    block = empty(size, BYTE)
    return [np.ndarray(shape, dtype, block, offset) for shape, offset in zip(shapes, offsets)]


@functools.lru_cache(1024)
def _side_by_side(shapes: tuple[tuple[int, ...], ...], itemsize: int) -> tuple[int, list[int]]:
    """Return the total bytes, and the offsets, of arrays that each begin at a cache line."""
    sizes = [-(-math.prod(shape) * itemsize // LINE) * LINE for shape in shapes]
    return sum(sizes), [0, *itertools.accumulate(sizes[:-1])]


def _rounded(size: int) -> int:
    """Return a size rounded up to four binary digits, so that similar sizes share blocks."""
    grain = 1 << max(size.bit_length() - 4, 0)
    return -(-size // grain) * grain


def zeros(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array of zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array
