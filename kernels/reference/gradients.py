"""What is done with whole gradients outside the layers, in NumPy: the oracle for the compiled ones."""

from __future__ import annotations

import numpy as np


def add_rows(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """out [rows, D], where row r is the sum of those of g [M, D] whose index [M] is r, in their order: the
    gradient of rows that were picked by index, each within [0, rows)."""
    out = np.zeros_like(g, shape=(rows, g.shape[1]))
    if index.size:
        order = np.argsort(index, kind="stable")
        where, start = np.unique(index[order], return_index=True)
        out[where] = np.add.reduceat(g[order], start, axis=0)
    return out


def sum_of_squares(arrays: list[np.ndarray]) -> float:
    """Of all numbers of all arrays; what is not finite comes out as inf or NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        flat = [a.reshape(-1) for a in arrays if a.size]
        return float(sum(float(np.dot(a, a)) for a in flat))


def scaled(arrays: list[np.ndarray], number: float) -> list[np.ndarray]:
    """Each array times a number, in arrays of their own."""
    with np.errstate(invalid="ignore"):  # inf * 0
        return [a * a.dtype.type(number) for a in arrays]
