"""The negative log-likelihood of a class under softmax, as one primitive: the loss of language models.

Composed of log_softmax, a gather and a product, it would write four arrays as large as the logits. As one primitive it
writes none in the forward, and only the gradient in the backward.
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
    """Return x[m, index[m]] for each row m: x [M, C], index [M] -> [M]."""
    return reshape(take_along(x, 1, index[:, None]), index.shape)


def _through_softmax(g: Any, p: Any) -> Any:
    """Return the VJP of softmax along the last dimension, from its result p."""
    return p * (g - sum(g * p, -1, True))


def softmax_nll(x: Any, index: np.ndarray, weights: np.ndarray) -> Any:
    """Return -weights[m] log softmax(x[m])[index[m]] for each row m; 0 where the weight is 0.

    x [M, C], index [M] of integers in [0, C), weights [M] of the dtype of x -> [M]. The caller has checked them and
    brought index and weights to the device of x. The gradient is g weights (softmax(x) - one_hot(index)).
    """
    return _softmax_nll(x, index, weights)
