"""Arrays whose memory is used again.

A fresh array of some megabytes costs a page fault for every 4 KiB when it is first written, which for a layer of
middle size is as long as its arithmetic. Blocks that a layer's call is done with are kept here for the next one: those
that nobody asks for in PERIOD seconds go back to the system, but for STAYS bytes; `release` gives back all.

Threads share the unused blocks without a lock, which would take longer than the rest: a list's `append` and `pop` are
atomic, so a block has one user at a time. What threads can do to each other is to lose a block, which the system then
has back, or one's size in the sum of all, which is added up anew before anything is dropped for it.
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

SMALLEST = 1 << 16  # bytes, under which memory comes from NumPy
LEAST = 1 << 12  # bytes, under which it does not matter where an array begins
LINE = 64  # bytes of a cache line, and of the widest vector: one that lies across two lines takes twice as long
KEPT = 1 << 29  # bytes of unused blocks that are kept at most
STAYS = 1 << 26  # bytes of unused blocks that are kept however long nobody asks for them
PERIOD = 3.0  # seconds after which, and before twice as many, an unused block goes

BYTE = np.dtype(np.uint8)
_free: dict[int, list[tuple[np.ndarray, int]]] = {}  # with the period in which a block was given back
_kept = 0  # bytes of them
_period = 0
_watched = locks.renewed_at_fork(globals(), "_watched", bool)  # whether a thread looks after unused blocks
_turns = itertools.count()
_lock = locks.renewed_at_fork(globals(), "_lock", threading.RLock)  # of who looks after them, or calls for one who does


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
    size = block.size
    if size < SMALLEST:
        return
    if _kept + size > KEPT and _counted() + size > KEPT:  # begin anew: what lies here may be of sizes not in use now
        _free.clear()
        _kept = 0
    if size <= KEPT:
        _kept += size
        _free.setdefault(size, []).append((block, _period))
    if _kept > STAYS and not _watched:
        _watch()


def _counted() -> int:
    """The bytes of all unused blocks, added up anew."""
    global _kept
    _kept = sum(size * len(blocks) for size, blocks in list(_free.items()))
    return _kept


def _watch() -> None:
    """Have a thread look after the unused blocks.

    This may run in a garbage collection, anywhere: not by `threading`, whose own lock may be held there.
    """
    global _watched
    with locks.held(_lock), contextlib.suppress(RuntimeError):  # no thread can be had, as at the interpreter's end
        if not _watched:
            _thread.start_new_thread(_look_after, ())
            _watched = True


def _look_after() -> None:
    global _watched
    go_on = True
    while go_on:
        time.sleep(PERIOD)
        with locks.held(_lock):
            dropped = _drop_unused()
            _watched = go_on = _counted() > STAYS
        if dropped:
            _trim()


def _drop_unused() -> bool:
    """Let go what was given back before the period that ends now, down to STAYS bytes, large blocks first."""
    global _period
    dropped, above = 0, _counted() - STAYS
    for size in sorted(_free, reverse=True):
        blocks = _free.get(size, [])
        with contextlib.suppress(IndexError):  # another thread has taken the last
            while dropped < above and blocks[0][1] < _period:  # the last given back are the first to be used
                del blocks[0]
                dropped += size
        if not blocks:
            _free.pop(size, None)
    _period += 1
    return dropped > 0


def _trim() -> None:
    """Ask the C library to give back to the system what it keeps itself, where it can be asked."""
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
    """A block of at least so many bytes, to be given back."""
    global _kept
    if size < SMALLEST:
        return aligned(size)
    room = _rounded(size)
    try:
        block, _ = _free[room].pop()
    except (KeyError, IndexError):
        return aligned(room)
    _kept -= room
    return block


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
