"""Convolution and pooling, compiled. The interface is that of `kernels/reference/windows.py`.

A convolution is a product of the weight and the windows' numbers, on the register tile. A thread copies the windows of
some rows of one image at a time, so that they stay in the second-level cache until they are multiplied: no array of all
windows exists. No bit of a result depends on the number of threads.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ..ir.windows import Windows
from ..runtime.rounding import round_up
from .codegen.convolution import ARGUMENTS, GEOMETRY, IMAGE_BYTES, PIECES, PIECES_BYTES, convolution_kernels
from .codegen.pooling import pooling_kernels
from .codegen.product import PANEL_VECTORS
from .runtime import memory, threads
from .runtime.command_list import SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit

Shape = tuple[int, ...]
INT64 = np.dtype(np.int64)


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, windows: Windows) -> np.ndarray:
    """See `kernels.reference.windows.convolution`."""
    out = memory.empty((x.shape[0], weight.shape[0], *windows.out), x.dtype)
    rows = weight.reshape(len(weight), -1)
    if bias is not None:  # the bias is the weight of a last number of each window, which is 1
        rows = np.concatenate([rows, bias[:, None]], 1)
    blocks = {"x": np.ascontiguousarray(x), "weight": np.ascontiguousarray(rows), "out": out}
    _run("forward", x.shape, len(weight), windows, bias is not None, blocks)
    return out


def convolution_input_gradient(g: np.ndarray, weight: np.ndarray, windows: Windows, shape: Shape) -> np.ndarray:
    """See `kernels.reference.windows.convolution_input_gradient`."""
    out = memory.empty(shape, g.dtype)
    columns = np.ascontiguousarray(weight.reshape(len(weight), -1).T)
    blocks = {"g": np.ascontiguousarray(g), "weight": columns, "out": out}
    _run("input_gradient", shape, len(weight), windows, False, blocks)
    return out


def convolution_weight_gradient(g: np.ndarray, x: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """See `kernels.reference.windows.convolution_weight_gradient`."""
    outputs = g.shape[1]
    out, sums = memory.empty((outputs, x.shape[1], *windows.kernel), x.dtype), np.empty(outputs, x.dtype)
    blocks = {"g": np.ascontiguousarray(g), "x": np.ascontiguousarray(x), "out": out, "bias": sums}
    _run("weight_gradient", x.shape, outputs, windows, True, blocks)
    return out, sums


def _run(name: str, shape: Shape, outputs: int, windows: Windows, ones: bool, blocks: dict[str, np.ndarray]) -> None:
    depth = shape[1] * math.prod(windows.kernel)
    flops = 2.0 * shape[0] * outputs * depth * math.prod(windows.out)
    arguments = name, shape, outputs, windows, ones, blocks["out"].dtype, threads.wanted_threads(flops), vector_unit()
    _built(*arguments).run(blocks)


@functools.lru_cache(256)
def _built(
    name: str, shape: Shape, outputs: int, windows: Windows, ones: bool, dtype: np.dtype, count: int, unit: VectorUnit
) -> CommandList:
    """Return the command list of one convolution, or of one of its gradients, for x of this shape."""
    (images, channels, height, width), (down, across) = shape, windows.out
    kernels, size, panel = (
        convolution_kernels(unit, 8 * dtype.itemsize),
        dtype.itemsize,
        PANEL_VECTORS * unit.lanes(dtype.itemsize),
    )
    depth = channels * math.prod(windows.kernel) + ones
    rows = max(1, min(down, IMAGE_BYTES // (max(depth, outputs) * across * size)))
    rows = -(-down // -(-down // rows))  # pieces of nearly one size
    row = round_up(rows * across, panel) + unit.lanes(
        size
    )  # not a power of two, which would map rows to few cache sets
    geometry = dict(zip(GEOMETRY, (
        images, channels, height, width, outputs, depth, *windows.kernel, *windows.stride, *windows.before,
        down, across, rows, row, int(ones),
    )))  # fmt: skip
    pieces = images * -(-down // rows)
    view = lambda block, *shape: BufferView(block, 0, 1, math.prod(shape))
    x, g = view("x", *shape), view("g", images, outputs, down, across)
    room = round_up((depth + outputs + panel) * row, panel) * size  # of one thread
    if name == "forward":
        names = {"x": x, "weight": view("weight", outputs, depth), "out": view("out", images, outputs, down, across)}
    elif name == "input_gradient":
        names = {"g": g, "weight": view("weight", depth, outputs), "out": view("out", *shape)}
        geometry["parts"] = min(channels, -(-count // images))
    else:
        fitting = max(2, PIECES_BYTES // (depth * outputs * size))
        groups = geometry["groups"] = min(pieces, PIECES, fitting)
        sums = BufferView(SCRATCH, count * room, groups * depth * outputs * size, 1)
        names = {"g": g, "x": x, "out": view("out", outputs, depth - 1), "bias": view("bias", outputs), "sums": sums}
    scratch = BufferView(SCRATCH, 0, count * room, 1)
    given = geometry | names | {"room": scratch, "room_bytes": room}
    kernels_of = [name, "add_groups"] if name == "weight_gradient" else [name]
    jobs = [(kernels[k], [given[argument] for argument in ARGUMENTS[k]]) for k in kernels_of]
    total = count * room + (sums.rows if name == "weight_gradient" else 0)
    return CommandList(jobs, {SCRATCH: total}, count, dtype, written=("out", "bias"))


def largest(x: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """See `kernels.reference.windows.largest`."""
    shape = (*x.shape[:2], *windows.out)
    out, which = memory.empty(shape, x.dtype), memory.empty(shape, INT64)
    _pool("largest", x.shape, windows, {"x": np.ascontiguousarray(x), "out": out, "which": which})
    return out, which


def place(g: np.ndarray, which: np.ndarray, windows: Windows, shape: Shape) -> np.ndarray:
    """See `kernels.reference.windows.place`."""
    out = memory.empty(shape, g.dtype)
    blocks = {"g": np.ascontiguousarray(g), "out": out, "which": np.ascontiguousarray(which, INT64)}
    _pool("place", shape, windows, blocks)
    return out


def _pool(name: str, shape: Shape, windows: Windows, blocks: dict[str, np.ndarray]) -> None:
    """Run a kernel of pooling for x of this shape. blocks: x or g, then `out` and `which`."""
    flops = 8.0 * shape[0] * shape[1] * (math.prod(windows.out) * math.prod(windows.kernel) + math.prod(shape[2:]))
    _built_pool(name, shape, windows, blocks["out"].dtype, threads.wanted_threads(flops)).run(blocks)


@functools.lru_cache(256)
def _built_pool(name: str, shape: Shape, windows: Windows, dtype: np.dtype, count: int) -> CommandList:
    kernel = pooling_kernels(8 * dtype.itemsize)[name]
    images, out = shape[0] * shape[1], windows.out
    numbers = [images, *shape[2:], *windows.kernel, *windows.stride, *windows.before, *out]
    view = lambda block, area: BufferView(block, 0, images, math.prod(area))
    first, second = (
        (view("x", shape[2:]), view("out", out)) if name == "largest" else (view("g", out), view("out", shape[2:]))
    )
    jobs = [(kernel, [*numbers, first, second, view("which", out)])]
    return CommandList(jobs, {}, count, dtype, {"which": INT64}, ("out", "which") if name == "largest" else ("out",))
