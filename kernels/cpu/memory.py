"""Arrays whose memory is used again.

A fresh array of some megabytes costs a page fault for every 4 KiB when it is first written, which for a layer of
middle size is as long as its arithmetic. Blocks that a layer's call is done with are kept here for the next one.
"""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import numpy as np

SMALLEST = 1 << 16  # bytes, under which memory comes from NumPy
KEPT = 1 << 29  # bytes of unused blocks that are kept at most

_free: dict[int, list[np.ndarray]] = {}
_kept = 0
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
        global _kept
        with _lock:
            if _kept + self.block.size > KEPT:  # begin anew: what lies here may be of sizes that nobody asks for now
                _free.clear()
                _kept = 0
            if self.block.size <= KEPT:
                _kept += self.block.size
                _free.setdefault(self.block.size, []).append(self.block)


def empty(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of whatever numbers were there before."""
    global _kept
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    room = _rounded(size)
    block = None
    with _lock:
        blocks = _free.get(room)
        if blocks:
            block = blocks.pop()
            _kept -= room
    lease = _Lease(np.empty(room, np.uint8) if block is None else block)
    return np.asarray(lease)[:size].view(dtype).reshape(shape)


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
