"""Work on whole arrays, such as products and convolutions: compiled where that is faster, else by NumPy's functions.

The kind of array decides: the code compiled for the CPU takes NumPy's arrays; other arrays stay in their own library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from . import driver
from .ir.program import Program
from .ir.windows import Windows

LARGE = 1 << 19
"""The compiled tile computes matrix products of at least this many multiply-adds. For fewer, NumPy's BLAS is faster by
the time that a command list takes to start. From twice as many on, BLAS would use threads of its own, which go on
spinning after each product and take the cores from the recurrent kernels."""


def _worth_the_tile(x: np.ndarray, y: np.ndarray, multiply_adds: int) -> bool:
    """Return whether the compiled tile, and not NumPy, computes the product of x and y."""
    return (
        multiply_adds >= LARGE
        and x.dtype == y.dtype
        and x.dtype in (np.float32, np.float64)
        and type(x) is type(y) is np.ndarray
        and driver.wanted_driver() == "cpu"
    )


def matmul(x: np.ndarray, y: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Return x @ y (+ bias) by NumPy's rules: the compiled tile multiplies large matrices, NumPy the rest."""
    matrices = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0]
    if matrices and _worth_the_tile(x, y, x.shape[0] * x.shape[1] * y.shape[1]):
        return driver.module(".cpu.dense").matmul(x, y, bias)
    out = np.matmul(x, y)
    if bias is not None:
        out += bias
    return out


def matmul_and_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x^T @ y and the sums of x's columns, for x [n, k] and y [n, m]: the gradients of weight and bias."""
    if _worth_the_tile(x, y, x.shape[0] * x.shape[1] * y.shape[1]):
        return driver.module(".cpu.dense").matmul_and_sums(x, y)
    return np.matmul(x.T, y), x.sum(0)


def elementwise(
    program: Program,
    jobs: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    numbers: Mapping[str, float],
) -> None:
    """Run an elementwise Program on each job: a pair of named inputs, read, and named outputs, written.

    The arrays of a job are contiguous and of one size. The arrays of all jobs are of one kind. numbers: inputs that are
    one number for all elements.
    """
    if driver.wanted_driver() == "cpu" and type(next(iter(jobs[0][1].values()))) is np.ndarray:
        return driver.module(".cpu.elementwise").elementwise(program, jobs, numbers)
    for given, out in jobs:
        for name, values in program.run({**given, **numbers}).items():
            out[name][...] = values


def softmax_losses(x: np.ndarray, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights -log softmax(x)[index], row by row: see `kernels.reference.softmax`."""
    return _compiled_for("softmax", x).losses(x, index, weights)


def softmax_errors(g: np.ndarray, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return g (softmax(x) - one_hot(index)), row by row: the gradient of `softmax_losses`."""
    return _compiled_for("softmax", x).errors(g, x, index)


def ctc_losses(
    x: np.ndarray, labels: np.ndarray, steps: np.ndarray, states: np.ndarray, keep: bool
) -> tuple[np.ndarray, Any]:
    """Return -log p(target) of each sequence of x, and what `ctc_gradient` needs: see `kernels.reference.ctc`."""
    return _compiled_for("ctc", x).losses(x, labels, steps, states, keep)


def ctc_gradient(g: np.ndarray, x: np.ndarray, *arguments: Any) -> np.ndarray:
    """Return the gradient of g . `ctc_losses`: see `kernels.reference.ctc`."""
    return _compiled_for("ctc", x).gradient(g, x, *arguments)


def add_rows(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """Return the sums of the rows of g with the same index: see `kernels.reference.gradients`."""
    return _compiled_for("gradients", g).add_rows(g, index, rows)


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, windows: Windows) -> np.ndarray:
    """Return the convolution of images: see `kernels.reference.windows`."""
    return _windows_for(x, weight).convolution(x, weight, bias, windows)


def convolution_input_gradient(
    g: np.ndarray, weight: np.ndarray, windows: Windows, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the gradient of g . `convolution` by x: see `kernels.reference.windows`."""
    return _windows_for(g, weight).convolution_input_gradient(g, weight, windows, shape)


def convolution_weight_gradient(g: np.ndarray, x: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of g . `convolution` by weight and bias: see `kernels.reference.windows`."""
    return _windows_for(g, x).convolution_weight_gradient(g, x, windows)


def largest(x: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest number of each window and its place: see `kernels.reference.windows`."""
    return _windows_for(x).largest(x, windows)


def pick(x: np.ndarray, which: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the number of each window at its place: see `kernels.reference.windows`."""
    return driver.module(".reference.windows").pick(x, which, windows)


def place(g: np.ndarray, which: np.ndarray, windows: Windows, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image that holds each window's number at its place: see `kernels.reference.windows`."""
    return _windows_for(g).place(g, which, windows, shape)


def totals(x: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the sum of each window: see `kernels.reference.windows`."""
    return driver.module(".reference.windows").totals(x, windows)


def spread(g: np.ndarray, windows: Windows, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image that holds each window's number at all its places: see `kernels.reference.windows`."""
    return driver.module(".reference.windows").spread(g, windows, shape)


def sum_of_squares(arrays: list[np.ndarray]) -> float:
    """Return the sum of squares of all arrays: see `kernels.reference.gradients`."""
    return _compiled_for("gradients", *arrays).sum_of_squares(arrays)


def scaled(arrays: list[np.ndarray], number: float) -> list[np.ndarray]:
    """Return each array times a number: see `kernels.reference.gradients`."""
    return _compiled_for("gradients", *arrays).scaled(arrays, number)


def _compiled_for(name: str, *arrays: np.ndarray) -> ModuleType:
    """Return the compiled module of this name, or NumPy's if compiled code cannot take these arrays or all are empty.

    For arrays of another library, return `cuda.dense`, which needs only NumPy's protocol.
    """
    alike = len({(type(a), a.dtype) for a in arrays}) == 1
    if alike and not isinstance(arrays[0], np.ndarray):
        return driver.module(".cuda.dense")
    alike = alike and type(arrays[0]) is np.ndarray
    served = alike and arrays[0].dtype in (np.float32, np.float64) and any(a.size for a in arrays)
    return driver.module(f".cpu.{name}" if served and driver.wanted_driver() == "cpu" else f".reference.{name}")


def _windows_for(*arrays: np.ndarray) -> ModuleType:
    """Return the compiled module of windows, or NumPy's if compiled code cannot take these arrays or one is empty."""
    served = all(type(a) is np.ndarray and a.dtype == arrays[0].dtype and a.size for a in arrays)
    compiled = served and arrays[0].dtype in (np.float32, np.float64) and driver.wanted_driver() == "cpu"
    return driver.module(".cpu.windows" if compiled else ".reference.windows")
