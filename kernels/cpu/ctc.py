"""Connectionist temporal classification, compiled. Interface, equations and symbols: `kernels/reference/ctc.py`.

Everything is in log space and in float64. The states of one sequence are the lanes of the vectors, and threads take
sequences, so no bit of a result depends on the other sequences nor on the number of threads.

A table holds the forward's numbers, which the backward reads again: for each sequence a row of skip(s), which is 0 or
-inf, then a row of a(t, s) for each step, the imagined one first. Without a backward two rows of steps are used in
turn. A vector of -inf stands before each row and at the table's end: the states -2, -1, L and L + 1 are read, too.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..ir.program import Constant, Op, Program, Ref
from ..runtime.bounded import bounded
from ..runtime.rounding import round_up
from .codegen.native import Kernel, unpacked
from .codegen.pointwise import PROGRAMS
from .runtime import cache, memory, threads
from .runtime.command_list import SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit

ARGUMENTS = {
    "losses": ("x", "labels", "steps", "states", "table", "out", "N", "C", "L", "row", "kept"),
    "gradient": (
        "g", "x", "labels", "steps", "states", "losses", "table", "out",
        "room", "T", "N", "C", "L", "row", "kept", "zero",
    ),
}  # fmt: skip
COST = 300.0  # a state of a step takes about the time of so many flops of a large product

FLOAT64, INT64 = np.dtype(np.float64), np.dtype(np.int64)
OTHERS = {"labels": INT64, "steps": INT64, "states": INT64, "table": FLOAT64, "losses": FLOAT64}


class _Writer:
    """A Program in the making: each call adds an operation and returns the number of its result."""

    def __init__(self, *inputs: str):
        self.inputs, self.ops = inputs, list[Op]()

    def __call__(self, name: str, *args: Ref) -> int:
        self.ops.append(Op(name, args))
        return len(self.inputs) + len(self.ops) - 1

    def log_of_three(self, x: Ref, y: Ref, z: Ref) -> int:
        """Add log(e^x + e^y + e^z). The greatest is taken out, so that its own exponential is 1."""
        low, high = self("minimum", x, y), self("maximum", x, y)
        middle, top = self("minimum", high, z), self("maximum", high, z)
        base = self("where", self("gt", top, Constant(-math.inf)), top, Constant(0.0))  # -inf - -inf would be NaN
        smaller = [self("exp", self("sub", number, base)) for number in (low, middle)]
        return self("add", self("log", self("add", self("add", *smaller), Constant(1.0))), top)

    def program(self, **outputs: Ref) -> Program[str]:
        return Program(self.inputs, tuple(self.ops), tuple(outputs.items()))


def _forward_program() -> Program[str]:
    op = _Writer("stay", "step", "leap", "skip", "emitted")
    return op.program(a=op("add", op.log_of_three(0, 1, op("add", 2, 3)), 4))


def _backward_program() -> Program[str]:
    op = _Writer("stay", "step", "leap", "skip", "emitted", "a", "loss")
    b = op.log_of_three(0, 1, op("add", 2, 3))
    return op.program(q=op("add", b, 4), posterior=op("exp", op("add", op("add", 5, b), 6)))


PROGRAMS["ctc forward"] = _forward_program()
PROGRAMS["ctc backward"] = _backward_program()

TEMPLATE = '''"""Generated: connectionist temporal classification for {unit}, x in float{bits}."""

import math

from tinygrad_rnn.kernels.cpu.codegen.native import word
from tinygrad_rnn.kernels.cpu.codegen.packing import get, put
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise
from tinygrad_rnn.kernels.cpu.runtime.compiled import njit


@njit("void(intp, intp, intp)", cache=True, error_model="numpy")
def clear(row, first, last):
    """Fill a row with -inf from state first to last - 1."""
    for s in range(first, last):
        put(64, row + 8 * s, -math.inf)


@njit("void(intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def emit(x, labels, states, padded, row):
    """row [padded] = the numbers of x [C] at the labels, then -inf."""
    for s in range(states):
        put(64, row + 8 * s, get({bits}, x + word(labels, s) * {size}))
    clear(row, states, padded)


def losses(args, thread, threads):
    """out [N] = -log p(target); table: see the head of `kernels/cpu/ctc.py`."""
{losses arguments}
    for n in range(N * thread // threads, N * (thread + 1) // threads):
        label, count = labels + 8 * n * L, word(states, n)
        vectors = -(-count // {lanes})
        skip = table + n * (1 + kept) * row + {lead}
        clear(skip, -{lanes}, (vectors + 1) * {lanes})
        for s in range(3, count, 2):
            if word(label, s) != word(label, s - 2):
                put(64, skip + 8 * s, 0.0)
        at = skip + row
        clear(at, -{lanes}, vectors * {lanes})
        put(64, at, 0.0)
        for t in range(word(steps, n)):
            before, at = at, skip + (1 + (t + 1) % kept) * row
            clear(at, -2, 0)
            emit(x + (t * N + n) * C * {size}, label, count, vectors * {lanes}, at)
            operands = (before, 0, before - 8, 0, before - 16, 0, skip, 0, at, 0, at, 0)
            pointwise("ctc forward", 64, {lanes}, 1, vectors, 0, vectors * {lanes}, operands)
        last, other = get(64, at + 8 * (count - 1)), get(64, at + 8 * (count - 2))
        top = max(last, other)
        if top > -math.inf and top < math.inf:
            top += math.log(math.exp(last - top) + math.exp(other - top))
        else:
            top = last + other if last != last or other != other else top
        put(64, out + 8 * n, -top)


@njit("void(intp, intp, intp, float64, intp)", cache=True, error_model="numpy")
def scatter(posterior, labels, states, g, out):
    """out [C] -= g times the sum of the posteriors of each label's states."""
    blank = 0.0
    for s in range(0, states, 2):
        blank += get(64, posterior + 8 * s)
    put({bits}, out + word(labels, 0) * {size}, -g * blank)
    for s in range(1, states, 2):
        at = out + word(labels, s) * {size}
        put({bits}, at, get({bits}, at) - g * get(64, posterior + 8 * s))


def gradient(args, thread, threads):
    """out [T, N, C] = -g posterior. room: a row for q, q of the step before, the posterior and the loss, per thread."""
{gradient arguments}
    even, odd = room + (4 * thread) * row, room + (4 * thread + 1) * row
    posterior, loss = room + (4 * thread + 2) * row, room + (4 * thread + 3) * row
    for n in range(N * thread // threads, N * (thread + 1) // threads):
        label, count, length = labels + 8 * n * L, word(states, n), word(steps, n)
        padded = -(-count // {lanes}) * {lanes}
        impossible = get(64, losses + 8 * n) == math.inf
        for t in range(T):
            start = math.nan if impossible and t < length and not zero else 0.0
            for c in range(C):
                put({bits}, out + ((t * N + n) * C + c) * {size}, start)
        if impossible:
            continue
        clear(even, 0, padded + {lanes})
        clear(odd, 0, padded + {lanes})
        q, other = even, odd
        put(64, q + 8 * (count - 1), 0.0)
        for i in range({lanes}):
            put(64, loss + 8 * i, get(64, losses + 8 * n))
        skip = table + n * (1 + kept) * row + {lead}
        for t in range(length - 1, -1, -1):
            at = (t * N + n) * C * {size}
            emit(x + at, label, count, padded, other)
            operands = (
                q, {lanes}, q + 8, {lanes}, q + 16, {lanes}, skip + 16, {lanes}, other, {lanes},
                skip + (2 + t) * row, {lanes}, loss, 0, other, {lanes}, posterior, {lanes},
            )
            pointwise("ctc backward", 64, {lanes}, padded // {lanes}, 1, 0, {lanes}, operands)
            scatter(posterior, label, count, get({bits}, g + n * {size}), out + at)
            q, other = other, q
'''


def losses(
    x: np.ndarray, labels: np.ndarray, steps: np.ndarray, states: np.ndarray, keep: bool
) -> tuple[np.ndarray, Any]:
    """See `kernels.reference.ctc.losses`."""
    kept, (N, L) = len(x) + 1 if keep else 2, labels.shape
    table, out = memory.empty(_table(N, L, kept, vector_unit()), FLOAT64), np.empty(N)
    _run("losses", x, L, kept, False, [x, labels, steps, states, table, out])
    return out, table if keep else None


def gradient(
    g: np.ndarray,
    x: np.ndarray,
    labels: np.ndarray,
    steps: np.ndarray,
    states: np.ndarray,
    losses: np.ndarray,
    saved: Any,
    zero_infinity: bool,
) -> np.ndarray:
    """See `kernels.reference.ctc.gradient`."""
    out = memory.empty(x.shape, x.dtype)
    arrays = [g, x, labels, steps, states, losses, saved, out]
    _run("gradient", x, labels.shape[1], len(x) + 1, zero_infinity, arrays)
    return out


def _row(L: int, unit: VectorUnit) -> int:
    """Return the numbers of a row: its states in full vectors, and the vector of -inf between two rows."""
    return round_up(L, unit.lanes(8)) + unit.lanes(8)


def _table(N: int, L: int, kept: int, unit: VectorUnit) -> int:
    """Return the numbers of a table with `kept` rows of steps for each sequence."""
    return N * (1 + kept) * _row(L, unit) + unit.lanes(8)


def _run(name: str, x: np.ndarray, L: int, kept: int, zero: bool, arrays: list[np.ndarray]) -> None:
    count = min(threads.wanted_threads(COST * x.shape[0] * x.shape[1] * L), x.shape[1])
    built = _built(name, x.shape, L, kept, zero, x.dtype, count, vector_unit())
    built.run(dict(zip(ARGUMENTS[name], map(np.ascontiguousarray, arrays))))


@bounded(256)
def _built(
    name: str,
    shape: tuple[int, int, int],
    L: int,
    kept: int,
    zero: bool,
    dtype: np.dtype,
    count: int,
    unit: VectorUnit,
) -> CommandList:
    kernel, row, (T, N, C) = _kernels(unit, 8 * dtype.itemsize)[name], 8 * _row(L, unit), shape
    values: dict[str, Any] = {"T": T, "N": N, "C": C, "L": L, "row": row, "kept": kept, "zero": int(zero)}
    sizes = {"x": T * N * C, "labels": N * L, "table": _table(N, L, kept, unit)}
    sizes |= {"out": T * N * C} if name == "gradient" else {}
    others = OTHERS | ({"out": FLOAT64} if name == "losses" else {})
    values |= {n: BufferView(n, 0, 1, sizes.get(n, N)) for n in kernel.names if n not in values}
    values["room"] = BufferView(SCRATCH, 0, 4 * count, row)
    written = {"out", "table"} if name == "losses" else {"out"}
    jobs = [(kernel, [values[n] for n in kernel.names])]
    return CommandList(jobs, {SCRATCH: 4 * count * row}, count, dtype, others, written)


@functools.cache
def _kernels(unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    lanes = unit.lanes(8)
    values = {
        "unit": unit.name, "bits": bits, "size": bits // 8, "lanes": lanes, "lead": 8 * lanes,
        **{f"{name} arguments": unpacked(names) for name, names in ARGUMENTS.items()},
    }  # fmt: skip
    module = cache.load(f"ctc_{unit.name}_f{bits}", cache.filled(TEMPLATE, values))
    return {name: Kernel(getattr(module, name), names) for name, names in ARGUMENTS.items()}
