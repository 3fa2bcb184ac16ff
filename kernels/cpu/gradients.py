"""Operations on whole gradients, compiled. The interface is that of `kernels/reference/gradients.py`.

One command list handles many arrays. The order of sums does not depend on the number of threads.
"""

from __future__ import annotations

import functools

import numpy as np

from ..ir.program import Op, Program
from .builder import CommandListBuilder
from .codegen.native import Kernel, unpacked
from .codegen.pointwise import PROGRAMS
from .codegen.product import PANEL_VECTORS
from .elementwise import elementwise
from .runtime import cache, memory, threads
from .runtime.command_list import BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit

BLOCK = 1 << 12  # numbers whose squares are summed in their own dtype, before the sums of blocks are in float64

ADD_ROWS = ("g", "index", "out", "count", "columns")
SQUARES = ("out", "x", "n")

PROGRAMS["added"] = Program(("x", "y"), (Op("add", (0, 1)),), (("sum", 2),))
PROGRAMS["squares"] = Program(("x", "sum"), (Op("mul", (0, 0)), Op("add", (1, 2))), (("sum", 3),))
SCALED = Program(("x", "number"), (Op("mul", (0, 1)),), (("out", 2),))

TEMPLATE = '''"""Generated: operations on gradients, for {unit}, float{bits}."""

from tinygrad_rnn.kernels.cpu.codegen.native import stack, word
from tinygrad_rnn.kernels.cpu.codegen.packing import get, put
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise


def add_rows(args, thread, threads):
    """out [rows, columns] += the rows of g [count, columns], each at its index. A thread takes some columns."""
{add rows}
    full = columns // {lanes}
    first, last = full * thread // threads, full * (thread + 1) // threads
    for i in range(count):
        source, to = g + i * columns * {size}, out + word(index, i) * columns * {size}
        row, place = source + first * {lanes * size}, to + first * {lanes * size}
        pointwise("added", {bits}, {lanes}, 1, last - first, 0, columns, (row, 0, place, 0, place, 0))
        if thread == threads - 1:
            for c in range(full * {lanes}, columns):
                put({bits}, to + c * {size}, get({bits}, to + c * {size}) + get({bits}, source + c * {size}))


def squares(args, thread, threads):
    """out: the sum of squares of each BLOCK numbers of x [n], float64."""
{squares}
    sums = stack({bytes})
    last = sums + {wide * size}
    blocks = -(-n // {block})
    for b in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        at, count = x + b * {block * size}, min({block}, n - b * {block})
        full = count // {wide}
        done = full * {wide}
        for i in range({wide}):
            put({bits}, sums + i * {size}, 0.0)
            put({bits}, last + i * {size}, get({bits}, at + (done + i) * {size}) if done + i < count else 0.0)
        pointwise("squares", {bits}, {lanes}, full, {vectors}, 0, {wide}, (at, {wide}, sums, 0, sums, 0))
        pointwise("squares", {bits}, {lanes}, 1, {vectors}, 0, {wide}, (last, 0, sums, 0, sums, 0))
        total = 0.0
        for i in range({wide}):
            total += get({bits}, sums + i * {size})
        put(64, out + b * 8, total)
'''


def add_rows(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """See `kernels.reference.gradients.add_rows`."""
    out = memory.empty((rows, g.shape[1]), g.dtype)
    blocks = [np.ascontiguousarray(g), np.ascontiguousarray(index, np.int64), out]
    count = threads.wanted_threads(4.0 * (g.size + out.size))  # about what it takes to read and write, as arithmetic
    _adding(g.shape, rows, g.dtype, count, vector_unit()).run(dict(zip(ADD_ROWS, blocks)))
    return out


@functools.lru_cache(256)
def _adding(shape: tuple[int, int], rows: int, dtype: np.dtype, count: int, unit: VectorUnit) -> CommandList:
    r = CommandListBuilder(dtype, count, unit)
    g, out = r.given("g", *shape), r.given("out", rows, shape[1])
    r.fill(out)
    kernel = _kernels(unit, 8 * dtype.itemsize)["add_rows"]
    index = r.given("index", 1, shape[0], np.dtype(np.int64))
    r.add(kernel, g=g, index=index, out=out, count=shape[0], columns=shape[1])
    return r.finish()


def sum_of_squares(arrays: list[np.ndarray]) -> float:
    """See `kernels.reference.gradients.sum_of_squares`."""
    sizes = tuple([a.size for a in arrays])
    out = np.empty(sum(-(-n // BLOCK) for n in sizes))
    count = threads.wanted_threads(4.0 * sum(sizes))
    _squaring(sizes, arrays[0].dtype, count, vector_unit()).run_on([out, *map(np.ascontiguousarray, arrays)])
    return float(out.sum())


@functools.lru_cache(256)
def _squaring(sizes: tuple[int, ...], dtype: np.dtype, count: int, unit: VectorUnit) -> CommandList:
    kernel, jobs, done = _kernels(unit, 8 * dtype.itemsize)["squares"], [], 0
    for i, n in enumerate(sizes):
        blocks = -(-n // BLOCK)
        jobs.append((kernel, [BufferView("out", done * 8, 1, blocks), BufferView(f"x_{i}", 0, 1, n), n]))
        done += blocks
    return CommandList(jobs, {}, count, dtype, {"out": np.dtype(np.float64)}, {"out"})


def scaled(arrays: list[np.ndarray], number: float) -> list[np.ndarray]:
    """See `kernels.reference.gradients.scaled`."""
    out = memory.empty_together(tuple([a.shape for a in arrays]), arrays[0].dtype)
    elementwise(SCALED, [({"x": np.ascontiguousarray(a)}, {"out": b}) for a, b in zip(arrays, out)], {"number": number})
    return out


@functools.cache
def _kernels(unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    lanes, size = unit.lanes(bits // 8), bits // 8
    wide = PANEL_VECTORS * lanes
    values = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "size": size, "vectors": PANEL_VECTORS, "wide": wide,
        "lanes * size": lanes * size, "wide * size": wide * size, "block": BLOCK, "block * size": BLOCK * size,
        "bytes": 2 * wide * size,
        "add rows": unpacked(ADD_ROWS), "squares": unpacked(SQUARES),
    }  # fmt: skip
    module = cache.load(f"gradients_{unit.name}_f{bits}", cache.filled(TEMPLATE, values))
    return {"add_rows": Kernel(module.add_rows, ADD_ROWS), "squares": Kernel(module.squares, SQUARES)}
