"""Convolution and pooling, compiled. The interface is that of `kernels/reference/windows.py`.

A convolution is a product of the weight and the windows' numbers, on the register tile. A thread copies the windows of
some rows of one image at a time, so that they stay in the second-level cache until they are multiplied: no array of all
windows exists. No bit of a result depends on the number of threads.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..ir.windows import Windows
from ..runtime.bounded import bounded
from ..runtime.rounding import round_up
from .codegen.convolution import ARGUMENTS, GEOMETRY, convolution_kernels
from .codegen.pooling import pooling_kernels
from .codegen.product import PANEL_VECTORS
from .runtime import memory, threads
from .runtime.caches import caches
from .runtime.command_list import SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit

Shape = tuple[int, ...]
INT64 = np.dtype(np.int64)

COST = 50.0  # pooling takes about the time of so many flops of a large product for each number that it looks at
GROUPS = 16  # most groups of pieces whose weight gradients are summed apart
GROUPS_BYTES = 1 << 25  # most bytes of their sums, if there are more than two


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


@bounded(256)
def _built(
    name: str, shape: Shape, outputs: int, windows: Windows, ones: bool, dtype: np.dtype, count: int, unit: VectorUnit
) -> CommandList:
    """Return the command list of one convolution, or of one of its gradients, for x of this shape."""
    (images, channels, *_), (down, across), (down_step, step) = shape, windows.out, windows.stride
    size, lanes = dtype.itemsize, unit.lanes(dtype.itemsize)
    depth, panel = channels * math.prod(windows.kernel) + ones, PANEL_VECTORS * lanes
    # A piece takes half of the second-level cache: it is read again and again, and so is the weight.
    rows = max(1, min(down, caches().second // 2 // (max(depth, outputs) * across * size)))
    rows = -(-down // -(-down // rows))  # pieces of nearly one size
    row = round_up(rows * across, panel) + lanes  # no power of two, which would map all rows to a few lines of a cache
    geometry = (images, *shape[1:], outputs, depth, *windows.kernel, *windows.stride, *windows.before)
    given: dict[str, Any] = dict(zip(GEOMETRY, (*geometry, down, across, rows, row, int(ones))))
    image_rows = ((down if name == "input_gradient" else rows) - 1) * down_step + windows.kernel[0]
    line = min(step, windows.kernel[1]) * (across + (windows.kernel[1] - 1) // step)
    bordered = round_up(channels * image_rows * line + panel, panel) * size
    other = rows * across * round_up(outputs, panel) if name == "weight_gradient" else outputs * row
    given |= {"piece_at": bordered, "other_at": bordered + depth * row * size}
    given["room_bytes"] = given["other_at"] + round_up(other + panel, panel) * size
    rooms = count * given["room_bytes"]
    view = lambda block, *shape: BufferView(block, 0, 1, math.prod(shape))
    given |= {"x": view("x", *shape), "g": view("g", images, outputs, down, across), "room": view(SCRATCH, rooms)}
    given |= {"weight": view("weight", outputs, depth), "bias": view("bias", outputs)}
    given["parts"] = min(channels, -(-count // images))
    given["groups"] = groups = min(images * -(-down // rows), GROUPS, max(2, GROUPS_BYTES // (depth * outputs * size)))
    given["sums"] = BufferView(SCRATCH, rooms, groups * depth * outputs * size, 1)
    outs = {"forward": given["g"], "input_gradient": given["x"], "weight_gradient": view("out", outputs, depth - ones)}
    given["out"] = dataclasses.replace(outs[name], block="out")
    kernels, names = convolution_kernels(unit, 8 * size), [name, *["add_groups"] * (name == "weight_gradient")]
    given["product"] = kernels["product"].entry
    jobs = [(kernels[k], [given[argument] for argument in ARGUMENTS[k]]) for k in names]
    arena = rooms + (given["sums"].rows if name == "weight_gradient" else 0)
    return CommandList(jobs, {SCRATCH: arena}, count, dtype, written=("out", "bias"))


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
    flops = COST * shape[0] * shape[1] * (math.prod(windows.out) * math.prod(windows.kernel) + math.prod(shape[2:]))
    _built_pool(name, shape, windows, blocks["out"].dtype, threads.wanted_threads(flops)).run(blocks)


@bounded(256)
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
