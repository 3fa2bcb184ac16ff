"""The negative log-likelihood of a class under softmax, as one primitive: what language models spend their output on.

Taken apart into log_softmax, a choice and a product, it would write four arrays as large as the logits; here
it writes none on the way forward, and on the way back the gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels import dense
from ..primitive import primitive
from .index import take_along
from .reduce import softmax, sum
from .shape import reshape

_softmax_nll = primitive(
    "softmax_nll",
    lambda x, index, weights: dense.softmax_losses(x, index, weights),
    lambda g, x, index, weights: _softmax_error(g * weights, x, index),
)
_softmax_error: Callable[..., Any] = primitive(
    "softmax_error",
    lambda g, x, index: dense.softmax_errors(g, x, index),
    lambda h, g, x, index: sum(h * softmax(x), -1) - _picked(h, index),
    lambda h, g, x, index: _through_softmax(h * reshape(g, (-1, 1)), softmax(x)),
)


def _picked(x: Any, index: np.ndarray) -> Any:
    return reshape(take_along(x, 1, index[:, None]), index.shape)


def _through_softmax(g: Any, p: Any) -> Any:
    return p * (g - sum(g * p, -1, True))


def softmax_nll(x: Any, index: np.ndarray, weights: np.ndarray) -> Any:
    """weights -log softmax(x)[index], row by row; 0 where the weight is 0. x [M, C], index and weights [M] -> [M].

    The gradient is g weights (softmax(x) - one_hot(index)). index within [0, C); weights of the dtype of x; arrays that
    are where x is.
    """
    return _softmax_nll(x, index, weights)
