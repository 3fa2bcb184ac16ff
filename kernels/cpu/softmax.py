"""The negative log-likelihood under softmax and its gradient, compiled: each row is read while it is in the cache.

The interface is that of `kernels/reference/softmax.py`. A row is read in blocks of WIDE numbers. The rest is copied to
a block of its own that ends with -inf, which changes neither the maximum nor the sum.
"""

from __future__ import annotations

import functools

import numpy as np

from ..ir.program import Op, Program
from .codegen.native import Kernel, unpacked
from .codegen.pointwise import PROGRAMS
from .codegen.product import PANEL_VECTORS
from .runtime import cache, memory, threads
from .runtime.command_list import BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit

PROGRAMS["largest"] = Program(("x", "top"), (Op("maximum", (0, 1)),), (("top", 2),))
PROGRAMS["exponentials"] = Program(
    ("x", "top", "sum"), (Op("sub", (0, 1)), Op("exp", (3,)), Op("add", (2, 4))), (("e", 4), ("sum", 5))
)
PROGRAMS["scaled"] = Program(("e", "scale"), (Op("mul", (0, 1)),), (("out", 2),))

LOSSES = ("x", "index", "weights", "out", "rows", "columns")
ERRORS = ("g", "x", "index", "out", "rows", "columns")

TEMPLATE = '''"""Generated: softmax and its likelihood for {unit}, float{bits}."""

import math

from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import stack, word
from tinygrad_rnn.kernels.cpu.codegen.packing import get, put
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise


@njit("void(intp, float{bits})", cache=True, error_model="numpy")
def fill(block, number):
    for i in range({wide}):
        put({bits}, block + i * {size}, number)


@njit("float64(intp, intp, intp, intp)", cache=True, error_model="numpy")
def exponentials(x, columns, out, room):
    """Write out [columns] = e^(x - max x), unless out is 0; return the sum. room: 4 blocks, scratch; block 0: max x."""
    top, sums, last, spare = room, room + {wide * size}, room + {2 * wide * size}, room + {3 * wide * size}
    full = columns // {wide}
    done = full * {wide}
    fill(top, -math.inf)
    fill(sums, 0.0)
    fill(last, -math.inf)
    for i in range(columns - done):
        put({bits}, last + i * {size}, get({bits}, x + (done + i) * {size}))
    pointwise("largest", {bits}, {lanes}, full, {vectors}, 0, {wide}, (x, {wide}, top, 0, top, 0))
    pointwise("largest", {bits}, {lanes}, 1, {vectors}, 0, {wide}, (last, 0, top, 0, top, 0))
    largest = get({bits}, top)
    for i in range(1, {wide}):
        number = get({bits}, top + i * {size})
        if number > largest or number != number:
            largest = number
    fill(top, largest)
    e, e_row = (out, {wide}) if out else (spare, 0)
    operands = (x, {wide}, top, 0, sums, 0, e, e_row, sums, 0)
    pointwise("exponentials", {bits}, {lanes}, full, {vectors}, 0, {wide}, operands)
    operands = (last, 0, top, 0, sums, 0, last, 0, sums, 0)
    pointwise("exponentials", {bits}, {lanes}, 1, {vectors}, 0, {wide}, operands)
    for i in range(columns - done if out else 0):
        put({bits}, out + (done + i) * {size}, get({bits}, last + i * {size}))
    total = 0.0
    for i in range({wide}):
        total += get({bits}, sums + i * {size})
    return total


def losses(args, thread, threads):
    """out [rows] = weights -log softmax(x [rows, columns])[index]; 0 where the weight is 0."""
{losses}
    room = stack({bytes})
    for r in range(rows * thread // threads, rows * (thread + 1) // threads):
        weight = get({bits}, weights + r * {size})
        if weight == 0.0:
            put({bits}, out + r * {size}, 0.0)
            continue
        row = x + r * columns * {size}
        total = exponentials(row, columns, 0, room)
        picked = get({bits}, row + word(index, r) * {size}) - get({bits}, room)
        put({bits}, out + r * {size}, weight * (math.log(total) - picked))


def errors(args, thread, threads):
    """out [rows, columns] = g (softmax(x) - one_hot(index))."""
{errors}
    room = stack({bytes})
    full = columns // {wide}
    for r in range(rows * thread // threads, rows * (thread + 1) // threads):
        row, number = out + r * columns * {size}, get({bits}, g + r * {size})
        scale = number / exponentials(x + r * columns * {size}, columns, row, room)
        fill(room, scale)
        pointwise("scaled", {bits}, {lanes}, full, {vectors}, 0, {wide}, (row, {wide}, room, 0, row, {wide}))
        for c in range(full * {wide}, columns):
            put({bits}, row + c * {size}, get({bits}, row + c * {size}) * get({bits}, room))
        at = row + word(index, r) * {size}
        put({bits}, at, get({bits}, at) - number)
'''


def losses(x: np.ndarray, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """See `kernels.reference.softmax.losses`."""
    out = np.empty(weights.shape, x.dtype)
    _run("losses", [x, index.astype(np.int64, copy=False), weights, out], x)
    return out


def errors(g: np.ndarray, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """See `kernels.reference.softmax.errors`."""
    out = memory.empty(x.shape, x.dtype)
    _run("errors", [g, x, index.astype(np.int64, copy=False), out], x)
    return out


def _run(name: str, arrays: list[np.ndarray], x: np.ndarray) -> None:
    count = threads.wanted_threads(20.0 * x.size)
    contiguous = [np.ascontiguousarray(a) for a in arrays]
    _built(name, x.shape, x.dtype, count, vector_unit()).run_on(contiguous)


@functools.lru_cache(256)
def _built(name: str, shape: tuple[int, int], dtype: np.dtype, count: int, unit: VectorUnit) -> CommandList:
    kernel, (rows, columns) = _kernels(unit, 8 * dtype.itemsize)[name], shape
    wide = ("x", "out") if name == "errors" else ("x",)
    views = [BufferView(block, 0, rows, columns if block in wide else 1) for block in kernel.names[:4]]
    return CommandList([(kernel, [*views, rows, columns])], {}, count, dtype, {"index": np.dtype(np.int64)}, {"out"})


@functools.cache
def _kernels(unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    lanes, size = unit.lanes(bits // 8), bits // 8
    wide = PANEL_VECTORS * lanes
    values = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "size": size, "vectors": PANEL_VECTORS, "wide": wide,
        "bytes": 4 * wide * size, "losses": unpacked(LOSSES), "errors": unpacked(ERRORS),
    } | {f"{n}wide * size": k * wide * size for n, k in (("", 1), ("2 * ", 2), ("3 * ", 3))}  # fmt: skip
    module = cache.load(f"softmax_{unit.name}_f{bits}", cache.filled(TEMPLATE, values))
    return {"losses": Kernel(module.losses, LOSSES), "errors": Kernel(module.errors, ERRORS)}
