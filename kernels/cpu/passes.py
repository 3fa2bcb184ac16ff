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
from collections.abc import Collection, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from . import cache, memory, threads
from .host import VectorUnit
from .memory import address
from .native import Kernel
from .product import AT_ONCE, DEPTH, PANEL_VECTORS, products

INT64 = np.dtype(np.int64)
SKEW = 5
"""Cache lines left free between matrices: matrices that begin a power of two apart would share places in the cache."""

SCRATCH, PACKING = "scratch", "packing"
"""Arenas: of what nobody wants when the pass has run, and of products for the part of a transpose that is packed."""


TEXT = '''"""Generated: where the arguments of a pass lie."""

from tinygrad_rnn.kernels.cpu.compiled import njit
from tinygrad_rnn.kernels.cpu.native import word


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
class Spot:
    """A contiguous matrix in a block of memory, so many bytes from its beginning."""

    block: str
    offset: int
    rows: int
    columns: int


class Pass:
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
        spots = [w if isinstance(w, Spot) else Spot("", w, 0, 0) for w in words]
        self.blocks = [name for name in dict.fromkeys(s.block for s in spots) if name]
        places = {name: i for i, name in enumerate(["", *self.blocks])}
        self.which = np.array([places[s.block] for s in spots], np.int64)
        self.offsets = np.array([s.offset for s in spots], np.int64)
        self.jobs, self.arenas, self.count = jobs, arenas, count
        self.limits = {name: Limit(size, memory.BYTE, True) for name, size in arenas.items()}
        for s in spots:
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
        self, blocks: Mapping[str, np.ndarray], room: Mapping[str, int], size: int, rest: Ordered[str]
    ) -> Pass:
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

    def run_on(self, blocks: Ordered[np.ndarray]) -> None:
        """Run it on blocks in the order of its own. ValueError, before anything runs, for one that does not fit."""
        words = np.empty(len(self.which), INT64)
        misfit = _placing()(np.fromiter(map(id, blocks), INT64, len(blocks)), self.plan, words)
        if misfit >= 0:
            return self.run_on([self.limits[name].fitting(name, a) for name, a in zip(self.blocks, blocks)])
        threads.run(address(words), self.count)


class Recorder:
    """Records a pass for so many threads and a vector unit, in one floating dtype; `arena` is where it makes room."""

    def __init__(self, dtype: np.dtype, count: int, unit: VectorUnit, arena: str = SCRATCH):
        self.dtype, self.count, self.unit = dtype, count, unit
        self.lanes = self.unit.lanes(dtype.itemsize)
        self.kernels = products(self.unit, 8 * dtype.itemsize)
        self.arena, self.arenas = arena, dict[str, int]()
        self.others = dict[str, np.dtype]()
        self.jobs: list[tuple[Kernel, list[Any]]] = []
        self.packed: dict[tuple[Spot, bool, int, int, int], Spot] = {}

    def finish(self) -> Pass:
        return Pass(self.jobs, self.arenas, self.count, self.dtype, self.others)

    def full(self, n: int) -> int:
        """A width made full vectors."""
        return -(-n // self.lanes) * self.lanes

    def given(self, name: str, rows: int, columns: int, dtype: np.dtype | None = None) -> Spot:
        """An array of the caller's; dtype: where it is not the recorder's."""
        if dtype is not None:
            self.others[name] = dtype
        return Spot(name, 0, rows, columns)

    def make(self, rows: int, columns: int, arena: str = "") -> Spot:
        """Room for a matrix in an arena; in the recorder's own where none is named."""
        arena = arena or self.arena
        start = self.arenas.get(arena, 0)
        size = rows * columns * self.dtype.itemsize
        self.arenas[arena] = start + (-(-size // memory.LINE) + SKEW) * memory.LINE
        return Spot(arena, start, rows, columns)

    def part(self, spot: Spot, first: int, rows: int) -> Spot:
        """Some rows of a matrix."""
        return Spot(spot.block, spot.offset + first * spot.columns * self.dtype.itemsize, rows, spot.columns)

    def add(self, kernel: Kernel, **given: Any) -> None:
        """A kernel, to be run with these arguments: Spots and whole numbers."""
        arguments = map(given.__getitem__, kernel.names)
        self.jobs.append((kernel, [v if isinstance(v, Spot) else int(v) for v in arguments]))

    def include(self, other: Pass) -> None:
        """The jobs of another pass, and its arenas, which this one must not have."""
        self.jobs += other.jobs
        self.arenas |= other.arenas

    def fill(self, spot: Spot) -> None:
        """Zeros."""
        self.copy(spot, spot, 1, spot.rows, 0)

    def copy(self, source: Spot, to: Spot, gates: int, rows: int, columns: int, adds: bool = False) -> None:
        """For each gate `rows` rows from source to `to`, where a row goes on with zeros; or added to what is there.

        Both hold their gates one after the other, with the same or different numbers of rows and columns.
        """
        self.add(
            self.kernels.copy, source=source, source_gate=source.rows // gates * source.columns,
            source_row=source.columns, to=to, to_gate=to.rows // gates * to.columns, to_row=to.columns, gates=gates,
            rows=rows, columns=columns, wide=columns if adds else to.columns, adds=adds,
        )  # fmt: skip

    def padded(self, spot: Spot, gates: int = 1) -> Spot:
        """A matrix whose columns are `gates` widths, each made full vectors by zeros."""
        n = spot.columns // gates
        wide = self.full(n)
        if n == wide:
            return spot
        out = self.make(spot.rows, gates * wide)
        narrow, broad = (Spot(s.block, s.offset, spot.rows * gates, s.columns // gates) for s in (spot, out))
        self.copy(narrow, broad, 1, spot.rows * gates, n)
        return out

    def panels(self, b: Spot, transposed: bool, vectors: int = PANEL_VECTORS, gates: int = 1, groups: int = 0) -> Spot:
        """B [K, N], b or its transpose, in panels; with gates, B is that many matrices [K, N / gates] side by side.

        groups: the rows of b are so many parts, each made full vectors by zeros; 0: they stay as they are.
        Packed once, however often it is asked for: so b must not change any more in this pass.
        """
        key = b, transposed, vectors, gates, groups
        if key in self.packed:
            return self.packed[key]
        rows, columns = b.rows // (groups or 1), b.columns
        if transposed:
            rows //= gates
        else:
            columns //= gates
        wide = self.full(rows) if groups else rows
        down, across = ((groups or 1) * wide, rows, max(wide, 1)), (columns, columns, max(columns, 1))
        (units, unit_real, unit_wide), (depth, depth_real, depth_wide) = (
            (down, across) if transposed else (across, down)
        )
        row, column = (1, b.columns) if transposed else (b.columns, 1)
        block = vectors * self.lanes
        panels = self.make(-(-units // block) * block * gates, depth)
        self.add(
            self.kernels.pack, b=b, b_row=row, b_column=column, b_gate=units * column, gates=gates, units=units,
            unit_real=unit_real, unit_wide=unit_wide, depth=depth, depth_real=depth_real, depth_wide=depth_wide,
            vectors=vectors, panels=panels,
        )  # fmt: skip
        self.packed[key] = panels
        return panels

    def multiply(
        self,
        a: Spot,
        transposed: bool,
        panels: Spot,
        columns: int,
        out: Spot | None = None,
        start: Spot | None = None,
        sums: Spot | None = None,
    ) -> Spot:
        """A B + start, where A is a or its transpose, and B [K, columns] lies in panels; start: as out, or one row.

        sums: of a transpose, gets the sums of A's rows.
        """
        rows, depth = (a.columns, a.rows) if transposed else (a.rows, a.columns)
        out = self.make(rows, columns) if out is None else out
        if transposed:
            size = self.count * AT_ONCE * min(depth, 2 * DEPTH) * self.dtype.itemsize
            self.arenas[PACKING] = max(size, self.arenas.get(PACKING, 0))
        self.add(
            self.kernels.product, a=a, a_row=1 if transposed else depth, a_column=a.columns if transposed else 1,
            room=Spot(PACKING, 0, 0, 0) if transposed else 0, panels=panels, start=start or 0,
            start_row=0 if start is None or start.rows == 1 < rows else start.columns, out=out, out_row=out.columns,
            M=rows, N=columns, K=depth, sums=sums or 0,
        )  # fmt: skip
        return out

    def product(self, a: Spot, transposed: bool, b: Spot, b_transposed: bool, **options: Any) -> Spot:
        """A B, where A is a or its transpose and B is b or its; options: see `multiply`."""
        columns = b.rows if b_transposed else b.columns
        return self.multiply(a, transposed, self.panels(b, b_transposed), columns, **options)

    def column_sums(self, a: Spot, out: Spot | None = None) -> Spot:
        """The sums of the columns of a matrix as wide as full vectors, row after row."""
        out = self.make(1, a.columns) if out is None else out
        self.add(self.kernels.column_sums, a=a, rows=a.rows, columns=a.columns, out=out)
        return out


def view(block: np.ndarray, spot: Spot, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What lies at a spot of an arena, as an array."""
    return np.ndarray(shape, dtype, block, spot.offset)
