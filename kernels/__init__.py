"""Sequence kernels for recurrent cells: a cell's traced `Program` in, whole-sequence forward and backward out.

Installed as `tinygrad_rnn.kernels`. It imports nothing of `tinygrad_rnn` outside itself: arrays come in and
go out, and it knows of no tensor, tape or layer.

    pointwise.py   the operations a Program is made of, and what each means in NumPy
    program.py     Program and Step: a cell as data
    sequence.py    Sequence: what a step is run over
    reference.py   the sequence driver in NumPy, the oracle for every compiled one
    softmax.py     the likelihood of a class under softmax, and its gradient, in NumPy
    gradients.py   what is done with whole gradients outside the layers, in NumPy
    recompute.py   the sequence driver with less memory: what the backward wants is computed again, piece by piece
    plan.py        a step's Programs cut into stages of products and pointwise work, for the compiled drivers
    locks.py       the locks of the library, and what a fork does to them
    undo.py        what a `with` block undoes whatever is raised within it
    cache.py       the folder where compiled code is kept, and what of it is trusted
    cache_upkeep.py  its files, and which of them nobody uses any more
    cpu/           the compiled driver: vector code for this host, generated and built by Numba
    cuda/          the driver for GPUs: CUDA C++, generated, built by nvcc and called through cffi
    protocol.py    what other libraries' arrays, on a GPU, are asked for through NumPy's protocol

The kind of array decides: NumPy's go to what is compiled for the CPU, others to their own library and to cuda/.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from types import ModuleType

import numpy as np

from . import locks
from .program import Program, Step
from .sequence import Array, Sequence, check

VARIABLE = "TINYGRAD_RNN_DRIVER"
"""Environment variable that chooses the sequence driver: `reference`, or `cpu` (the default)."""


LARGE = 1 << 19
"""Multiply-adds from which a matrix product goes to the compiled tile. Below, NumPy's BLAS is faster by what a pass
takes to start; from twice as many on it would use threads of its own, which go on spinning after each product and
take the cores from the recurrent kernels."""


@functools.cache
def wanted_driver() -> str:
    """Read from the environment once: to read it takes as long as a small layer's kernel."""
    wanted = os.environ.get(VARIABLE) or "cpu"
    if wanted not in ("cpu", "reference"):
        raise ValueError(f"{VARIABLE}: expected 'cpu' or 'reference', got {wanted!r}")
    if wanted == "cpu":
        from .cpu.host import require_compiler

        require_compiler()
    return wanted


@functools.cache
def _module(name: str) -> ModuleType:
    """A module of the kernels, imported when first wanted: Numba takes a while to import."""
    with locks.held(locks.building):
        return importlib.import_module(name, __name__)


def _worth_the_tile(x: np.ndarray, y: np.ndarray, multiply_adds: int) -> bool:
    """Whether a product of matrices goes to the compiled tile."""
    return (
        multiply_adds >= LARGE
        and x.dtype == y.dtype
        and x.dtype in (np.float32, np.float64)
        and type(x) is type(y) is np.ndarray
        and wanted_driver() == "cpu"
    )


def matmul(x: np.ndarray, y: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x @ y (+ bias) of arrays, by NumPy's rules: large matrices by the compiled tile, the rest by NumPy."""
    matrices = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0]
    if matrices and _worth_the_tile(x, y, x.shape[0] * x.shape[1] * y.shape[1]):
        return _module(".cpu.dense").matmul(x, y, bias)
    out = np.matmul(x, y)
    if bias is not None:
        out += bias
    return out


def matmul_and_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x^T @ y and the sums of x's columns, of matrices x [n, k] and y [n, m]: the gradients of weight and bias."""
    if _worth_the_tile(x, y, x.shape[0] * x.shape[1] * y.shape[1]):
        return _module(".cpu.dense").matmul_and_sums(x, y)
    return np.matmul(x.T, y), x.sum(0)


def elementwise(
    program: Program,
    jobs: Ordered[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    numbers: Mapping[str, float],
) -> None:
    """Run a Program of elements on each job: named inputs, contiguous arrays of one size, and outputs, written.

    numbers: inputs that are one number for all elements. The arrays of all jobs are of one kind.
    """
    if wanted_driver() == "cpu" and type(next(iter(jobs[0][1].values()))) is np.ndarray:
        return _module(".cpu.elementwise").elementwise(program, jobs, numbers)
    for given, out in jobs:
        for name, values in program.run({**given, **numbers}).items():
            out[name][...] = values


def softmax_losses(x: np.ndarray, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """weights -log softmax(x)[index], row by row: see `kernels.softmax`."""
    return _compiled_for("softmax", x).losses(x, index, weights)


def softmax_errors(g: np.ndarray, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """g (softmax(x) - one_hot(index)), row by row: the gradient of `softmax_losses`."""
    return _compiled_for("softmax", x).errors(g, x, index)


def add_rows(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """Rows of g added up by their index: see `kernels.gradients`."""
    return _compiled_for("gradients", g).add_rows(g, index, rows)


def sum_of_squares(arrays: list[np.ndarray]) -> float:
    """Of all numbers of all arrays: see `kernels.gradients`."""
    return _compiled_for("gradients", *arrays).sum_of_squares(arrays)


def scaled(arrays: list[np.ndarray], number: float) -> list[np.ndarray]:
    """Each array times a number: see `kernels.gradients`."""
    return _compiled_for("gradients", *arrays).scaled(arrays, number)


def _compiled_for(name: str, *arrays: np.ndarray) -> ModuleType:
    """The compiled module of this name, or where it cannot take these arrays, or none has a number, NumPy's.

    For arrays of another library that which asks nothing but NumPy's protocol of it.
    """
    alike = len({(type(a), a.dtype) for a in arrays}) == 1
    if alike and not isinstance(arrays[0], np.ndarray):
        return _module(".protocol")
    alike = alike and type(arrays[0]) is np.ndarray
    served = alike and arrays[0].dtype in (np.float32, np.float64) and any(a.size for a in arrays)
    return _module(f".cpu.{name}" if served and wanted_driver() == "cpu" else f".{name}")


def driver_for(step: Step, sequence: Sequence) -> ModuleType:
    """The driver, with `forward` and `backward`, that runs a step over a sequence.

    The compiled one, but for a sequence of no numbers, where there is nothing to compile for; for arrays on a GPU
    always the one there. Raises ValueError where the environment asks for a driver that there is not, and as `check`
    does where the arrays do not fit each other: drivers read raw memory.
    """
    check(step, sequence)
    if not isinstance(sequence.x, np.ndarray):
        return _module(".cuda.driver")
    if wanted_driver() == "reference" or 0 in sequence.x.shape:
        return _module(".reference")
    return _module(".cpu.driver")


def takes_several(x: Array) -> bool:
    """Whether the driver for arrays like x runs several sequences at once: has `forward_ways`, `forward_stack`, ..."""
    return not isinstance(x, np.ndarray)


def infer(
    step: Step, weights: Ordered[np.ndarray | None], x: np.ndarray, initial: Ordered[np.ndarray], reverse: bool
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """A forward that keeps nothing, by the compiled driver's short way; None where it has none: see `cpu.driver`."""
    return _module(".cpu.driver").infer(step, weights, x, initial, reverse) if wanted_driver() == "cpu" else None
