"""The functions of `reference.softmax` and `reference.gradients` for arrays with NumPy's protocol, such as CuPy's.

Each operation runs over whole arrays. Blocks of rows would not help: a GPU has no cache for them to fit in, and another
launch, or a number fetched to the host, costs more than the memory that it moves. Not every library's ufuncs take
`where=`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def losses(x: Array, index: Array, weights: Array) -> Array:
    """Return weights -log softmax(x)[index]; 0 where the weight is 0, whatever x holds there."""
    if not x.size:
        return np.zeros_like(weights)
    e = x - x.max(1, keepdims=True)
    picked = e[np.arange(len(e), like=e), index]
    return np.where(weights != 0, (np.log(np.exp(e).sum(1)) - picked) * weights, 0)


def errors(g: Array, x: Array, index: Array) -> Array:
    """Return g (softmax(x) - one_hot(index))."""
    if not x.size:
        return x.copy()
    p = np.exp(x - x.max(1, keepdims=True))
    p *= (g / p.sum(1))[:, None]
    p[np.arange(len(p), like=p), index] -= g
    return p


def add_rows(g: Array, index: Array, rows: int) -> Array:
    """Return out [rows, D]: row r is the sum, in a fixed order, of the rows m of g [M, D] with index[m] == r."""
    out = np.zeros_like(g, shape=(rows, g.shape[1]))
    if index.size:
        order = np.argsort(index, kind="stable")
        where, sums = _sums_of_runs(index[order], g[order])
        out[where] = sums
    return out


def _sums_of_runs(keys: Array, rows: Array) -> tuple[Array, Array]:
    """Return each key of a sorted list once, and the sum of its rows.

    A row holds the sum of the last rows of its key, up to itself. Each pass doubles their number: Hillis and Steele,
    Data parallel algorithms (1986), in segments. (CuPy's `add.at` adds in whatever order threads arrive. CuPy's
    `add.reduceat` takes differences of running sums, and so loses small sums.)
    """
    distance = 1
    while distance < len(keys):
        same = (keys[distance:] == keys[:-distance])[:, None]
        rows = np.concatenate([rows[:distance], rows[distance:] + np.where(same, rows[:-distance], 0)])
        distance *= 2
    last = np.ones_like(keys, np.bool_)
    last[:-1] = keys[1:] != keys[:-1]
    return keys[last], rows[last]


def sum_of_squares(arrays: list[Array]) -> float:
    """Return the sum of squares of all arrays; inf or NaN if a number is not finite."""
    squares = [np.dot(a, a) for a in (a.reshape(-1) for a in arrays) if a.size]
    return float(sum(np.stack(squares).tolist())) if squares else 0.0


def scaled(arrays: list[Array], number: float) -> list[Array]:
    """Return each array times a number, in new arrays."""
    return [a * number for a in arrays]
