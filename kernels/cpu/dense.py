"""Dense matrix products of any layout, on as many threads as they are worth."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from . import threads
from .host import vector_unit
from .product import PANEL_VECTORS, products
from .tile import tile_rows

Array = Any
SMALL = 1e7  # flops under which threads cost more than they bring, about 0.1 ms of one core


def multiply(a: Array, transposed: bool, b: Array, b_transposed: bool, out: Array | None = None) -> Array:
    """A B, where A is a or its transpose and B is b or its. Both are contiguous, of one floating dtype.

    Threads take columns of the result, or rows where there are few columns; the order of its sums is one and the same.
    """
    M, K = a.shape[::-1] if transposed else a.shape
    N = b.shape[0] if b_transposed else b.shape[1]
    a_strides = (1, a.shape[1]) if transposed else (a.shape[1], 1)
    b_strides = (1, b.shape[1]) if b_transposed else (b.shape[1], 1)
    out = np.empty((M, N), a.dtype) if out is None else out
    unit = vector_unit()
    width = PANEL_VECTORS * unit.lanes(a.dtype.itemsize)
    call = products(unit, 8 * a.dtype.itemsize).product
    of, by, to = a.reshape(-1), b.reshape(-1), out.reshape(-1)
    parts = threads.get_num_threads() if 2.0 * M * N * K > SMALL else 1
    if parts * width <= N:
        cuts = threads.split(N, parts, width)
        tasks = [partial(call, of, *a_strides, by, *b_strides, to, N, M, N, K, i, j, False) for i, j in cuts]
    else:
        cuts = threads.split(M, parts, tile_rows(unit, PANEL_VECTORS))
        tasks = [
            partial(call, of[i * a_strides[0] :], *a_strides, by, *b_strides, to[i * N :], N, j - i, N, K, 0, N, False)
            for i, j in cuts
        ]
    threads.run(tasks)
    return out


def matmul(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x @ y for matrices of one floating dtype, in any layout."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(f"matmul: expected x [n, k] and y [k, m], got {x.shape} and {y.shape}")
    (a, transposed), (b, b_transposed) = _contiguous(x), _contiguous(y)
    return multiply(a, transposed, b, b_transposed)


def _contiguous(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """A contiguous array that holds x, or its transpose, and which."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return np.ascontiguousarray(x), False
