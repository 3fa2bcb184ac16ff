"""Operations on whole gradients, in NumPy: the oracle of the compiled operations."""

from __future__ import annotations

import numpy as np


def add_rows(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    """Return out [rows, D]: row r is the sum, in their order, of the rows m of g [M, D] with index[m] == r.

    This is the gradient of picking rows by index, each from 0 to rows - 1.
    """
    out = np.zeros_like(g, shape=(rows, g.shape[1]))
    if index.size:
        order = np.argsort(index, kind="stable")
        where, start = np.unique(index[order], return_index=True)
        out[where] = np.add.reduceat(g[order], start, axis=0)
    return out


def sum_of_squares(arrays: list[np.ndarray]) -> float:
    """Return the sum of squares of all arrays; inf or NaN if a number is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        flat = [a.reshape(-1) for a in arrays if a.size]
        return float(sum(float(np.dot(a, a)) for a in flat))


def scaled(arrays: list[np.ndarray], number: float) -> list[np.ndarray]:
    """Return each array times a number, in new arrays."""
    with np.errstate(invalid="ignore"):  # inf * 0
        return [a * a.dtype.type(number) for a in arrays]
