"""Dense matrix products of any layout, on as many threads as they are worth."""

from __future__ import annotations

import functools

import numpy as np

from . import memory, threads
from .host import VectorUnit, vector_unit
from .passes import Pass, Recorder


def matmul(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x @ y for matrices of one floating dtype, in any layout."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(f"matmul: expected x [n, k] and y [k, m], got {x.shape} and {y.shape}")
    (a, transposed), (b, b_transposed) = _contiguous(x), _contiguous(y)
    out = memory.empty((x.shape[0], y.shape[1]), x.dtype)
    count = threads.wanted_threads(2.0 * x.size * y.shape[1])
    recorded = _recorded(a.shape, transposed, b.shape, b_transposed, x.dtype, count, vector_unit())
    recorded.run({"a": a, "b": b, "out": out})
    return out


@functools.lru_cache(1024)
def _recorded(
    a: tuple[int, int],
    transposed: bool,
    b: tuple[int, int],
    b_transposed: bool,
    dtype: np.dtype,
    count: int,
    unit: VectorUnit,
) -> Pass:
    r = Recorder(dtype, count, unit)
    out = r.given("out", a[1] if transposed else a[0], b[0] if b_transposed else b[1])
    r.product(r.given("a", *a), transposed, r.given("b", *b), b_transposed, out)
    return r.finish()


def _contiguous(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """A contiguous array that holds x, or its transpose, and which."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return np.ascontiguousarray(x), False
