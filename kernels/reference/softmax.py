"""The negative log-likelihood under softmax, row by row, and its gradient, in NumPy: the oracle of the compiled one.

x [M, C]: logits; index [M]: a class for each row, from 0 to C - 1; weights, g [M]: a number for each row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 16  # elements: some rows of logits and their scratch fit in the cache


def _blocks(x: np.ndarray) -> Iterator[slice]:
    """Yield the rows of x, some at a time."""
    rows = max(1, _BLOCK // max(1, x.shape[1]))
    return (slice(start, start + rows) for start in range(0, x.shape[0], rows))


def losses(x: np.ndarray, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights -log softmax(x)[index]; 0 where the weight is 0, whatever x holds there."""
    out = np.zeros_like(weights)
    for at in _blocks(x):
        e = x[at] - x[at].max(1, keepdims=True)
        picked = e[np.arange(len(e)), index[at]]
        loss = np.log(np.exp(e, out=e).sum(1)) - picked
        np.multiply(loss, weights[at], out=out[at], where=weights[at] != 0)  # `where`: inf * 0 must give 0
    return out


def errors(g: np.ndarray, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return g (softmax(x) - one_hot(index))."""
    out = np.empty_like(x)
    for at in _blocks(x):
        p = np.subtract(x[at], x[at].max(1, keepdims=True), out=out[at])
        np.exp(p, out=p)
        p *= (g[at] / p.sum(1))[:, None]
        p[np.arange(len(p)), index[at]] -= g[at]
    return out
