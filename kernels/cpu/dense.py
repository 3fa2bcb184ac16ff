"""Dense matrix products in any layout, on as many threads as the work is worth."""

from __future__ import annotations

import numpy as np

from ..runtime.bounded import bounded
from .builder import CommandListBuilder
from .runtime import memory, threads
from .runtime.command_list import CommandList
from .runtime.host import VectorUnit, vector_unit


def matmul(x: np.ndarray, y: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Return x @ y, plus bias in each row, for matrices of one floating dtype in any layout."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(f"matmul: expected x [n, k] and y [k, m], got {x.shape} and {y.shape}")
    if bias is not None and bias.shape != (y.shape[1],):
        raise ValueError(f"matmul: expected a bias of shape {(y.shape[1],)}, got {bias.shape}")
    (a, transposed), (b, b_transposed) = _contiguous(x), _contiguous(y)
    blocks = {"a": a, "b": b, "out": memory.empty((x.shape[0], y.shape[1]), x.dtype)}
    if bias is not None:
        blocks["bias"] = np.ascontiguousarray(bias)
    _built(a.shape, transposed, b.shape, b_transposed, bias is not None, False, *_machine(x, y.shape[1])).run(blocks)
    return blocks["out"]


def matmul_and_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x^T @ y and the sums of the columns of x, for contiguous matrices of one floating dtype."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(f"matmul_and_sums: expected x [n, k] and y [n, m], got {x.shape} and {y.shape}")
    out, sums = memory.empty((x.shape[1], y.shape[1]), x.dtype), memory.empty((1, x.shape[1]), x.dtype)
    blocks = {"a": np.ascontiguousarray(x), "b": np.ascontiguousarray(y), "out": out, "sums": sums}
    _built(x.shape, True, y.shape, False, False, True, *_machine(x, y.shape[1])).run(blocks)
    return out, sums[0]


def _machine(x: np.ndarray, columns: int) -> tuple[np.dtype, int, VectorUnit]:
    """Return what a command list is built for besides shapes: dtype, threads and vector unit."""
    return x.dtype, threads.wanted_threads(2.0 * x.size * columns), vector_unit()


@bounded(1024)
def _built(
    a: tuple[int, int],
    transposed: bool,
    b: tuple[int, int],
    b_transposed: bool,
    biased: bool,
    sums: bool,
    dtype: np.dtype,
    count: int,
    unit: VectorUnit,
) -> CommandList:
    r = CommandListBuilder(dtype, count, unit)
    out = r.given("out", a[1] if transposed else a[0], b[0] if b_transposed else b[1])
    options = {"start": r.given("bias", 1, out.columns)} if biased else {}
    options |= {"sums": r.given("sums", 1, out.rows)} if sums else {}
    r.product(r.given("a", *a), transposed, r.given("b", *b), b_transposed, out=out, **options)
    return r.finish()


def _contiguous(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return a contiguous array of x or of its transpose, and whether it is the transpose."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return np.ascontiguousarray(x), False
