"""The negative log-likelihood under softmax for arrays that only answer to NumPy's protocol, such as CuPy's.

The same as `softmax.py` in whole passes over all rows: there is no cache that blocks of them should fit in, no `where=`
among what every library's ufuncs take, and to launch a pass costs more than what it moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def losses(x: Array, index: Array, weights: Array) -> Array:
    """weights -log softmax(x)[index]; 0 where the weight is 0, whatever stands there."""
    if not x.size:
        return np.zeros_like(weights)
    e = x - x.max(1, keepdims=True)
    picked = e[np.arange(len(e), like=e), index]
    return np.where(weights != 0, (np.log(np.exp(e).sum(1)) - picked) * weights, 0)


def errors(g: Array, x: Array, index: Array) -> Array:
    """g (softmax(x) - one_hot(index))."""
    if not x.size:
        return x.copy()
    p = np.exp(x - x.max(1, keepdims=True))
    p *= (g / p.sum(1))[:, None]
    p[np.arange(len(p), like=p), index] -= g
    return p
