"""The builder of command lists: it allocates matrices in arenas, and adds the commands that compute them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .codegen.native import Kernel
from .codegen.product import DEPTH, PANEL_VECTORS, products, rows_at_once
from .runtime import memory
from .runtime.command_list import PACKING, SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit

SKEW = 5
"""Free cache lines between matrices: matrices that begin a power of two apart would share cache sets."""


class CommandListBuilder:
    """Builds a command list for `count` threads and a vector unit, in one floating dtype. arena: the default one."""

    def __init__(self, dtype: np.dtype, count: int, unit: VectorUnit, arena: str = SCRATCH):
        self.dtype, self.count, self.unit = dtype, count, unit
        self.lanes = self.unit.lanes(dtype.itemsize)
        self.kernels = products(self.unit, 8 * dtype.itemsize)
        self.arena, self.arenas = arena, dict[str, int]()
        self.others = dict[str, np.dtype]()
        self.jobs: list[tuple[Kernel, list[Any]]] = []
        self.packed: dict[tuple[BufferView, bool, int, int, int], BufferView] = {}

    def finish(self) -> CommandList:
        return CommandList(self.jobs, self.arenas, self.count, self.dtype, self.others)

    def full(self, n: int) -> int:
        """Return a width rounded up to full vectors."""
        return -(-n // self.lanes) * self.lanes

    def given(self, name: str, rows: int, columns: int, dtype: np.dtype | None = None) -> BufferView:
        """Return the view of an array that the caller gives. dtype: if it differs from the list's."""
        if dtype is not None:
            self.others[name] = dtype
        return BufferView(name, 0, rows, columns)

    def make(self, rows: int, columns: int, arena: str = "") -> BufferView:
        """Allocate a matrix in an arena, by default in the builder's."""
        arena = arena or self.arena
        start = self.arenas.get(arena, 0)
        size = rows * columns * self.dtype.itemsize
        self.arenas[arena] = start + (-(-size // memory.LINE) + SKEW) * memory.LINE
        return BufferView(arena, start, rows, columns)

    def part(self, view: BufferView, first: int, rows: int) -> BufferView:
        """Return a view of some rows of a matrix."""
        return BufferView(view.block, view.offset + first * view.columns * self.dtype.itemsize, rows, view.columns)

    def add(self, kernel: Kernel, **given: Any) -> None:
        """Add a kernel with its arguments by name: buffer views and whole numbers."""
        arguments = map(given.__getitem__, kernel.names)
        self.jobs.append((kernel, [v if isinstance(v, BufferView) else int(v) for v in arguments]))

    def include(self, other: CommandList) -> None:
        """Add the jobs and the arenas of another list. The arenas must be new to this one."""
        self.jobs += other.jobs
        self.arenas |= other.arenas

    def fill(self, view: BufferView) -> None:
        """Fill a matrix with zeros."""
        self.copy(view, view, 1, view.rows, 0)

    def copy(self, source: BufferView, to: BufferView, gates: int, rows: int, columns: int, adds: bool = False) -> None:
        """Copy `rows` rows of each gate from source to `to`, and fill the rest of each row with zeros.

        adds: add to the numbers of `to` instead. Both hold their gates one after the other, with the same or different
        numbers of rows and columns.
        """
        self.add(
            self.kernels.copy, source=source, source_gate=source.rows // gates * source.columns,
            source_row=source.columns, to=to, to_gate=to.rows // gates * to.columns, to_row=to.columns, gates=gates,
            rows=rows, columns=columns, wide=columns if adds else to.columns, adds=adds,
        )  # fmt: skip

    def padded(self, view: BufferView, gates: int = 1) -> BufferView:
        """Return a matrix whose columns are `gates` widths, with each width padded to full vectors by zeros."""
        n = view.columns // gates
        wide = self.full(n)
        if n == wide:
            return view
        out = self.make(view.rows, gates * wide)
        given, padded = (BufferView(s.block, s.offset, view.rows * gates, s.columns // gates) for s in (view, out))
        self.copy(given, padded, 1, view.rows * gates, n)
        return out

    def panels(
        self, b: BufferView, transposed: bool, vectors: int = PANEL_VECTORS, gates: int = 1, groups: int = 0
    ) -> BufferView:
        """Pack B [K, N], b or its transpose, in panels. gates: B is that many matrices [K, N / gates] side by side.

        groups: the rows of b are so many parts, each padded to full vectors by zeros; 0: no padding. A matrix is packed
        once, however often it is asked for, so b must not change later in this list.
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
        a: BufferView,
        transposed: bool,
        panels: BufferView,
        columns: int,
        out: BufferView | None = None,
        start: BufferView | None = None,
        sums: BufferView | None = None,
    ) -> BufferView:
        """Compute out = A B + start, where A is a or its transpose and B [K, columns] lies in panels.

        start: of out's shape, or one row. sums: for a transpose, written: the sums of A's rows.
        """
        rows, depth = (a.columns, a.rows) if transposed else (a.rows, a.columns)
        out = self.make(rows, columns) if out is None else out
        if transposed:
            rows_packed = self.count * rows_at_once(self.dtype.itemsize)
            size = rows_packed * min(depth, 2 * DEPTH) * self.dtype.itemsize
            self.arenas[PACKING] = max(size, self.arenas.get(PACKING, 0))
        self.add(
            self.kernels.product, a=a, a_row=1 if transposed else depth, a_column=a.columns if transposed else 1,
            room=BufferView(PACKING, 0, 0, 0) if transposed else 0, panels=panels, start=start or 0,
            start_row=0 if start is None or start.rows == 1 < rows else start.columns, out=out, out_row=out.columns,
            M=rows, N=columns, K=depth, sums=sums or 0,
        )  # fmt: skip
        return out

    def product(self, a: BufferView, transposed: bool, b: BufferView, b_transposed: bool, **options: Any) -> BufferView:
        """Compute A B, where A is a or its transpose and B is b or its transpose. options: see `multiply`."""
        columns = b.rows if b_transposed else b.columns
        return self.multiply(a, transposed, self.panels(b, b_transposed), columns, **options)

    def column_sums(self, a: BufferView, out: BufferView | None = None) -> BufferView:
        """Sum the columns of a matrix of padded width, row after row."""
        out = self.make(1, a.columns) if out is None else out
        self.add(self.kernels.column_sums, a=a, rows=a.rows, columns=a.columns, out=out)
        return out
