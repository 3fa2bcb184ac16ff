"""Arrays whose memory is used again.

A fresh array of some megabytes costs a page fault for every 4 KiB when it is first written, which for a layer of
middle size is as long as its arithmetic. Blocks that a layer's call is done with are kept here for the next one.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from typing import Any

import numpy as np

SMALLEST = 1 << 16  # bytes, under which memory comes from NumPy
LEAST = 1 << 12  # bytes, under which it does not matter where an array begins
LINE = 64  # bytes of a cache line, and of the widest vector: one that lies across two lines takes twice as long
KEPT = 1 << 29  # bytes of unused blocks that are kept at most

_free: dict[int, list[np.ndarray]] = {}
_kept = 0
_turns = itertools.count()
_lock = threading.RLock()  # a garbage collection within may give back another block


class _Lease:
    """A block in use; it goes back when the last array on it is gone."""

    __slots__ = ("block",)

    def __init__(self, block: np.ndarray):
        self.block = block

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.block.__array_interface__

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
    start = -block.__array_interface__["data"][0] % LINE + skew
    return block[start : start + size]


def empty(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of whatever numbers were there before; but for a very small one it begins with a cache line."""
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    if size < SMALLEST:
        return aligned(size).view(dtype).reshape(shape)
    return np.asarray(_Lease(borrow(size)))[:size].view(dtype).reshape(shape)


def _rounded(size: int) -> int:
    """A size with three more binary digits after the first, at least as large: so that like sizes share blocks."""
    grain = 1 << max(size.bit_length() - 4, 0)
    return -(-size // grain) * grain


def zeros(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # another thread may have held it, and a forked child has no other thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
