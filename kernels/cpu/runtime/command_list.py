"""A pass: a list of jobs that is recorded once for some shapes and then run on any arrays of them.

What a pass works on lies in blocks of memory that are named when it is recorded and given when it is run: arrays of
the caller, and arenas in which the pass lays out its own. All arguments of all its kernels are one array of words,
offsets into blocks; to run it takes one addition of where the blocks lie, and one call of the team.

Kernels read and write raw memory. So a pass knows for each block how many bytes its jobs touch, in which dtype, and
whether they write, and holds every array that it is given against that: see `place`.
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
"""Arenas: of what nobody wants when the pass has run, and of products for the part of a transpose that is packed."""


TEXT = '''"""Generated: where the arguments of a pass lie."""

from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import word


@njit("int64(int64[::1], int64[::1], int64[::1])", cache=True, error_model="numpy")
def place(arrays, plan, words):
    """words = offsets + where the first numbers of the arrays lie, of the first for which = 1; of none for 0.

    arrays: where Python's objects lie; see `memory.address`. plan: for each array three limits, the numbers that it
    must have, the object that is its dtype, and the flags that must be set; then for each word two numbers, which and
    offset (one array of all, as to hand over an array takes as long as to place some fifty words). Returns the first
    array that does not keep to its limits, or -1.
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
    """What the jobs of a pass take a block for: so many numbers of a dtype, one after the other, at least."""

    numbers: int
    dtype: np.dtype
    written: bool = False

    def words(self) -> tuple[int, int, int]:
        """As `place` reads it. NumPy has one object for each dtype of its own."""
        return self.numbers, id(self.dtype), CONTIGUOUS | ALIGNED | (WRITEABLE if self.written else 0)

    def fitting(self, name: str, array: Any) -> np.ndarray:
        """Return the array, or a copy of it where it is only read and lies otherwise; ValueError if it does not fit."""
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
    """A contiguous matrix in a block of memory, so many bytes from its beginning."""

    block: str
    offset: int
    rows: int
    columns: int


class CommandList:
    """A recorded list of jobs; `arenas` says for each arena how many bytes it has.

    dtype: of the blocks, but for arenas, which are bytes, and those that `others` names. written: names of the caller's
    blocks that jobs write.
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
        places = {name: i for i, name in enumerate(["", *self.blocks])}
        self.which = np.array([places[s.block] for s in views], np.int64)
        self.offsets = np.array([s.offset for s in views], np.int64)
        self.jobs, self.arenas, self.count = jobs, arenas, count
        self.limits = {name: Limit(size, memory.BYTE, True) for name, size in arenas.items()}
        for s in views:
            if s.block and s.block not in arenas:
                kind = others.get(s.block, dtype)
                numbers = s.rows * s.columns * (dtype.itemsize if kind == memory.BYTE else 1)  # another pass's arena
                end = s.offset // kind.itemsize + numbers
                before = self.limits.get(s.block, Limit(0, kind, s.block in written))
                self.limits[s.block] = before._replace(numbers=max(end, before.numbers))
        self.plan = self._plan()

    def _plan(self) -> np.ndarray:
        """The limits of the blocks, in their order, and the words, as `place` reads them."""
        limits = np.array([self.limits[name].words() for name in self.blocks], np.int64)
        return np.concatenate([limits.reshape(-1), np.stack([self.which, self.offsets], 1).reshape(-1)])

    def bound(
        self, blocks: Mapping[str, np.ndarray], room: Mapping[str, int], size: int, rest: Sequence[str]
    ) -> CommandList:
        """This pass with some of its blocks in place for good, and all else given, in order, to `run_on`.

        Whoever runs it keeps `blocks` alive. room: those that will be parts of one block, the first that is given, so
        many bytes from its beginning; size: its bytes in all. rest: the others.
        """
        for name, array in blocks.items():
            self.limits[name].fitting(name, array)
        places = [0, *(address(blocks[name]) if name in blocks else room.get(name, 0) for name in self.blocks)]
        number = dict.fromkeys(blocks, 0) | dict.fromkeys(room, 1) | {name: i for i, name in enumerate(rest, 2)}
        other = copy.copy(self)
        other.blocks = ["room", *rest]
        other.which = np.array([0, *map(number.__getitem__, self.blocks)], np.int64)[self.which]
        other.offsets = self.offsets + np.array(places, np.int64)[self.which]
        other.limits = {name: self.limits[name] for name in rest} | {"room": Limit(size, memory.BYTE, True)}
        other.plan = other._plan()
        return other

    def run(self, blocks: dict[str, np.ndarray]) -> None:
        """Run it; an arena that is not given is borrowed for as long."""
        borrowed = {name: memory.borrow(self.arenas[name]) for name in self.blocks if name not in blocks}
        self.run_on([*map((blocks | borrowed).__getitem__, self.blocks)])
        for block in borrowed.values():
            memory.give_back(block)

    def run_on(self, blocks: Sequence[np.ndarray]) -> None:
        """Run it on blocks in the order of its own. ValueError, before anything runs, for one that does not fit."""
        words = np.empty(len(self.which), INT64)
        misfit = _placing()(np.fromiter(map(id, blocks), INT64, len(blocks)), self.plan, words)
        if misfit >= 0:
            return self.run_on([self.limits[name].fitting(name, a) for name, a in zip(self.blocks, blocks)])
        threads.run(address(words), self.count)


def array_at(block: np.ndarray, view: BufferView, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What lies at a spot of an arena, as an array."""
    return np.ndarray(shape, dtype, block, view.offset)
