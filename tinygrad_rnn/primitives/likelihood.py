"""The negative log-likelihood of a class under softmax, as one primitive: what language models spend their output on.

Taken apart into log_softmax, a choice and a product, it would write four arrays as large as the logits; here
it writes none on the way forward, and on the way back the gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..primitive import primitive
from .index import gather
from .reduce import softmax, sum
from .shape import reshape

_BLOCK = 1 << 16  # elements: some rows of logits and the scratch for them fit in the cache


def _blocks(x: Any) -> Iterator[slice]:
    """The rows of x, some at a time."""
    rows = max(1, _BLOCK // max(1, x.shape[1]))
    return (slice(start, start + rows) for start in range(0, x.shape[0], rows))


def _losses(x: Any, index: Any, weights: Any) -> Any:
    out = np.zeros_like(weights)
    for at in _blocks(x):
        e = x[at] - x[at].max(1, keepdims=True)
        picked = e[np.arange(len(e)), index[at]]
        loss = np.log(np.exp(e, out=e).sum(1)) - picked
        np.multiply(loss, weights[at], out=out[at], where=weights[at] != 0)  # inf * 0 is to be 0 here
    return out


def _errors(g: Any, x: Any, index: Any) -> Any:
    out = np.empty_like(x)
    for at in _blocks(x):
        p = np.subtract(x[at], x[at].max(1, keepdims=True), out=out[at])
        np.exp(p, out=p)
        p *= (g[at] / p.sum(1))[:, None]
        p[np.arange(len(p)), index[at]] -= g[at]
    return out


_softmax_nll = primitive(
    "softmax_nll",
    _losses,
    lambda g, x, index, weights: _softmax_error(g * weights, x, index),
)
_softmax_error: Callable[..., Any] = primitive(
    "softmax_error",
    _errors,
    lambda h, g, x, index: sum(h * softmax(x), -1) - _picked(h, index),
    lambda h, g, x, index: _through_softmax(h * reshape(g, (-1, 1)), softmax(x)),
)


def _picked(x: Any, index: np.ndarray) -> Any:
    return reshape(gather(x, 1, index[:, None]), index.shape)


def _through_softmax(g: Any, p: Any) -> Any:
    return p * (g - sum(g * p, -1, True))


def softmax_nll(x: Any, index: np.ndarray, weights: np.ndarray) -> Any:
    """weights -log softmax(x)[index], row by row; 0 where the weight is 0. x [M, C], index and weights [M] -> [M].

    The gradient is g weights (softmax(x) - one_hot(index)). index within [0, C); weights of the dtype of x.
    """
    return _softmax_nll(x, index, weights)
