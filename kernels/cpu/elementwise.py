"""A Program over flat arrays, element by element, as an optimiser's update is.

A Program is one kernel. Many arrays of any sizes are one command list, and all threads share each array.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.program import Program
from .codegen.native import Kernel, unpacked
from .codegen.pointwise import PROGRAMS
from .runtime import cache, threads
from .runtime.command_list import BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit

TEMPLATE = '''"""Generated: a Program over flat arrays for {unit}, float{bits}."""

from tinygrad_rnn.kernels.cpu.codegen.native import stack, word
from tinygrad_rnn.kernels.cpu.codegen.packing import get, put
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise


def elementwise(args, thread, threads):
    """Outputs [n] from inputs [n] and numbers [count][LANES]; an output may be an input."""
{arguments}
    full, rest = n // {lanes}, n % {lanes}
    first, last = full * thread // threads, full * (thread + 1) // threads
    at = first * {lanes * size}
    pointwise("{key}", {bits}, {lanes}, last - first, 1, 0, {lanes}, ({operands},))
    if rest and thread == threads - 1:  # the rest, less than a vector, in a block of its own
        edge_at, end = stack({bytes}), full * {lanes * size}
        for i in range(rest):
{copies in}
        pointwise("{key}", {bits}, {lanes}, 1, 1, 0, rest, ({edges},))
        for i in range(rest):
{copies out}
'''


def elementwise(
    program: Program,
    jobs: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    numbers: Mapping[str, float],
) -> None:
    """Run a Program on each job: inputs by name, contiguous arrays of one size and dtype, and outputs, written.

    numbers: inputs that are one number for all.
    """
    names = [*(n for n in program.inputs if n not in numbers), *(n for n, _ in program.outputs)]
    count_in = len(names) - len(program.outputs)
    blocks = [(given if i < count_in else out)[n] for given, out in jobs for i, n in enumerate(names)]
    dtype, unit = blocks[0].dtype, vector_unit()
    sizes = tuple(blocks[k].size for k in range(0, len(blocks), len(names)))
    if [a.size for a in blocks] != [n for n in sizes for _ in names] or len({a.dtype for a in blocks}) > 1:
        raise ValueError(f"elementwise: expected arrays of {dtype} and of one size in each job")
    single = tuple(n for n in program.inputs if n in numbers)
    spread = np.repeat(np.array([numbers[n] for n in single] or [0.0], dtype), unit.lanes(dtype.itemsize))
    count = threads.wanted_threads(4.0 * len(program.ops) * sum(sizes))
    _built(program, single, sizes, dtype, count, unit).run_on([spread, *blocks])


@functools.lru_cache(256)
def _built(
    program: Program, numbers: tuple[str, ...], sizes: tuple[int, ...], dtype: np.dtype, count: int, unit: VectorUnit
) -> CommandList:
    """Return the command list for arrays of these sizes. Blocks: the numbers, then each job's inputs and outputs."""
    kernel = _kernel(program, numbers, unit, 8 * dtype.itemsize)
    single = BufferView("numbers", 0, max(1, len(numbers)), unit.lanes(dtype.itemsize))
    arrays = lambda k, n: [BufferView(f"{name}_{k}", 0, 1, n) for name in kernel.names[2:]]
    written = {f"{name}_{k}" for name in kernel.names if name.startswith("out_") for k in range(len(sizes))}
    jobs: list[tuple[Kernel, list[Any]]] = [(kernel, [n, single, *arrays(k, n)]) for k, n in enumerate(sizes)]
    return CommandList(jobs, {}, count, dtype, written=written)


@functools.cache
def _kernel(program: Program, numbers: tuple[str, ...], unit: VectorUnit, bits: int) -> Kernel:
    lanes, size = unit.lanes(bits // 8), bits // 8
    key = cache.digest(repr(program))
    PROGRAMS[key] = program
    inputs = [n for n in program.inputs if n not in numbers]
    names = [f"in_{i}" for i in range(len(inputs))] + [f"out_{i}" for i in range(len(program.outputs))]
    order = [*program.inputs, *(f"out_{i}" for i in range(len(program.outputs)))]
    local = {n: f"in_{i}" for i, n in enumerate(inputs)} | {n: n for n in names if n.startswith("out_")}

    def operands(base: str) -> str:
        """Return the operands of the Program. base: an expression of an array's name and offset."""
        found = []
        for n in order:
            if n in numbers:
                found.append(f"numbers + {numbers.index(n) * lanes * size}, 0")
            else:
                found.append(base.format(name=local[n], offset=names.index(local[n]) * lanes * size) + f", {lanes}")
        return ", ".join(found)

    line = "            put({bits}, {to}, get({bits}, {source}))"
    edge = lambda name: f"edge_at + {names.index(name) * lanes * size} + i * {size}"
    there = lambda name: f"{name} + end + i * {size}"
    copies_in = [line.format(bits=bits, to=edge(n), source=there(n)) for n in names if n.startswith("in_")]
    copies_out = [line.format(bits=bits, to=there(n), source=edge(n)) for n in names if n.startswith("out_")]
    arguments = ("n", "numbers", *names)
    values = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "lanes * size": lanes * size, "key": key,
        "bytes": len(names) * lanes * size,
        "arguments": unpacked(arguments), "operands": operands("{name} + at"), "edges": operands("edge_at + {offset}"),
        "copies in": "\n".join(copies_in) or "            pass", "copies out": "\n".join(copies_out),
    }  # fmt: skip
    module = cache.load(f"elementwise_{key}_{unit.name}_f{bits}", cache.filled(TEMPLATE, values))
    return Kernel(module.elementwise, arguments)
