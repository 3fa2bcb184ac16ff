"""A command list: kernels with their arguments, built once for some shapes and run on any arrays of these shapes.

A list works on blocks of memory: arrays of the caller, and arenas for the list's own matrices. Building the list needs
only their names; running it needs the blocks. All arguments of all kernels are one array of words, which are offsets
into blocks. To run the list takes one addition of the blocks' addresses and one call of the thread team.

Kernels read and write raw memory. So a list knows for each block how many numbers its jobs touch, in which dtype, and
whether they write. Before it runs, it checks every array that it is given: see `place`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import cache, memory, threads
from .memory import address

if TYPE_CHECKING:
    from ..codegen.native import Kernel

INT64 = np.dtype(np.int64)

SCRATCH, PACKING = "scratch", "packing"
"""Arenas: memory that is free after the list has run, and a product's memory for the packed part of a transpose."""


TEXT = '''"""Generated: the addresses of a command list's arguments."""

from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import word


@njit("int64(int64[::1], int64[::1], int64[::1])", cache=True, error_model="numpy")
def place(arrays, plan, words):
    """Write words = offset + address of the first number of array `which` (1 for the first array, 0 for no array).

    arrays: addresses of NumPy's array objects; see `memory.address`. plan: for each array three limits, its least size,
    the address of its dtype object, and the flags that must be set; then for each word two numbers, which and offset.
    Limits and words are one array, because handing over an array takes as long as placing some fifty words. Return the
    first array that breaks its limits, or -1.
    """
    for k in range(len(arrays)):
        array = arrays[k]
        dimensions, numbers = word(array, {head} + 1) & 0xFFFFFFFF, 1
        for d in range(dimensions):
            numbers *= word(word(array, {head} + 2), d)
        least, dtype, wanted = plan[3 * k], plan[3 * k + 1], plan[3 * k + 2]
        flags = word(array, {head} + 6) & wanted
        if numbers < least or word(array, {head} + 5) != dtype or flags != wanted:
            return k
    start = 3 * len(arrays)
    for i in range(len(words)):
        k, offset = plan[start + 2 * i], plan[start + 2 * i + 1]
        words[i] = offset + (0 if k == 0 else word(arrays[k - 1], {head}))
    return -1
'''

CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400
"""NumPy's flags of an array, NPY_ARRAY_*."""


@functools.cache
def _placing() -> Any:
    return cache.load("place", TEXT.replace("{head}", str(object.__basicsize__ // 8))).place


class Limit(NamedTuple):
    """The least that a list's jobs need of a block: contiguous numbers of a dtype. written: whether jobs write it."""

    numbers: int
    dtype: np.dtype
    written: bool = False

    def words(self) -> tuple[int, int, int]:
        """Return the limit as `place` reads it. NumPy has one object for each of its dtypes."""
        return self.numbers, id(self.dtype), CONTIGUOUS | ALIGNED | (WRITEABLE if self.written else 0)

    def fitting(self, name: str, array: Any) -> np.ndarray:
        """Return the array, or a contiguous copy if jobs only read it. Raise ValueError if it does not fit."""
        fits = isinstance(array, np.ndarray) and array.dtype == self.dtype and array.size >= self.numbers
        if self.written:
            fits = fits and array.flags.c_contiguous and array.flags.aligned and array.flags.writeable
        if not fits:
            got = "another kind of object"
            if isinstance(array, np.ndarray):
                kind = "contiguous" if array.flags.c_contiguous else "strided"
                kind = kind if array.flags.writeable else f"{kind}, read-only"
                got = f"{array.dtype} of shape {array.shape}, {kind}"
            wanted = f"{self.numbers} numbers of {self.dtype}, contiguous" + (" and writeable" if self.written else "")
            raise ValueError(f"kernels: {name}: expected at least {wanted}, got {got}")
        return array.view(self.dtype) if self.written else np.require(array, self.dtype, ["C", "A"])


@dataclass(frozen=True)
class BufferView:
    """A contiguous matrix in a block of memory. offset: in bytes."""

    block: str
    offset: int
    rows: int
    columns: int


class CommandList:
    """A list of jobs. arenas: the bytes of each arena.

    dtype: the dtype of all blocks except the arenas, which are bytes. others: the dtypes of blocks with another dtype.
    written: the caller's blocks that jobs write.
    """

    def __init__(
        self,
        jobs: list[tuple[Kernel, list[Any]]],
        arenas: dict[str, int],
        count: int,
        dtype: np.dtype,
        others: Mapping[str, np.dtype] = MappingProxyType({}),
        written: Collection[str] = (),
    ):
        if not dtype.isnative or dtype not in (np.float32, np.float64):
            raise TypeError(f"kernels: expected float32 or float64 in this machine's byte order, got {dtype!r}")
        words: list[Any] = [len(jobs)]
        start = 1 + 2 * len(jobs)
        for kernel, arguments in jobs:
            words += [kernel.entry, 8 * start]
            start += len(arguments)
        words += [argument for _, arguments in jobs for argument in arguments]
        views = [w if isinstance(w, BufferView) else BufferView("", w, 0, 0) for w in words]
        self.blocks = [name for name in dict.fromkeys(s.block for s in views) if name]
        number = {name: i for i, name in enumerate(["", *self.blocks])}
        self.which = np.array([number[s.block] for s in views], np.int64)
        self.offsets = np.array([s.offset for s in views], np.int64)
        self.jobs, self.arenas, self.count = jobs, arenas, count
        self.limits = {name: Limit(size, memory.BYTE, True) for name, size in arenas.items()}
        for s in views:
            if s.block and s.block not in arenas:
                kind = others.get(s.block, dtype)
                numbers = s.rows * s.columns * (dtype.itemsize if kind == memory.BYTE else 1)  # another list's arena
                end = s.offset // kind.itemsize + numbers
                before = self.limits.get(s.block, Limit(0, kind, s.block in written))
                self.limits[s.block] = before._replace(numbers=max(end, before.numbers))
        self.plan = self._plan()

    def _plan(self) -> np.ndarray:
        """Return the limits of the blocks, in their order, and the words, as `place` reads them."""
        limits = np.array([self.limits[name].words() for name in self.blocks], np.int64)
        return np.concatenate([limits.reshape(-1), np.stack([self.which, self.offsets], 1).reshape(-1)])

    def bound(
        self, blocks: Mapping[str, np.ndarray], parts: Mapping[str, int], size: int, rest: Sequence[str]
    ) -> CommandList:
        """Return a list with some blocks bound for good. Its `run_on` takes the joint block, then the rest.

        blocks: the blocks to bind; the caller must keep them alive. parts: the offsets, in bytes, of the blocks that
        are parts of the joint block. size: the bytes of the joint block. rest: the other blocks, in their order.
        """
        for name, array in blocks.items():
            self.limits[name].fitting(name, array)
        starts = [0, *(address(blocks[name]) if name in blocks else parts.get(name, 0) for name in self.blocks)]
        number = dict.fromkeys(blocks, 0) | dict.fromkeys(parts, 1) | {name: i for i, name in enumerate(rest, 2)}
        other = copy.copy(self)
        other.blocks = ["joint block", *rest]
        other.which = np.array([0, *map(number.__getitem__, self.blocks)], np.int64)[self.which]
        other.offsets = self.offsets + np.array(starts, np.int64)[self.which]
        other.limits = {name: self.limits[name] for name in rest} | {"joint block": Limit(size, memory.BYTE, True)}
        other.plan = other._plan()
        return other

    def run(self, blocks: dict[str, np.ndarray]) -> None:
        """Run the list. Borrow the arenas that are not given, for the time of the run."""
        borrowed = {name: memory.borrow(self.arenas[name]) for name in self.blocks if name not in blocks}
        self.run_on([*map((blocks | borrowed).__getitem__, self.blocks)])
        for block in borrowed.values():
            memory.give_back(block)

    def run_on(self, blocks: Sequence[np.ndarray]) -> None:
        """Run the list on blocks in its order. Raise ValueError, before any job runs, if a block does not fit."""
        words = np.empty(len(self.which), INT64)
        misfit = _placing()(np.fromiter(map(id, blocks), INT64, len(blocks)), self.plan, words)
        if misfit >= 0:
            return self.run_on([self.limits[name].fitting(name, a) for name, a in zip(self.blocks, blocks)])
        threads.run(address(words), self.count)


def array_at(block: np.ndarray, view: BufferView, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the array at a buffer view of an arena."""
    return np.ndarray(shape, dtype, block, view.offset)
