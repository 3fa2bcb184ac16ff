"""The matrix product, batched; and x W^T, + b, of linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..primitive import primitive
from .shape import reshape

_matmul: Any = primitive(
    "matmul",
    lambda x, y: kernels.matmul(x, y),
    lambda g, x, y: _matmul(g, y.mT),
    lambda g, x, y: _matmul(x.mT, g),
    numeric=True,
    expects="x [..., n, k] and y [..., k, m]",
)

linear: Any = primitive(
    "linear",
    lambda x, weight: kernels.matmul(x, weight.T),
    lambda g, x, weight: _matmul(g, weight),
    lambda g, x, weight: _matmul(g.mT, x),  # in the layout of the weight, as x.mT g would not be
    numeric=True,
    expects="x [n, k] and weight [m, k]",
)


def _affine_vjp(needs: list[bool], g: Any, x: Any, weight: Any) -> list[Any]:
    d_x = _matmul(g, weight) if needs[0] else None
    if isinstance(g, np.ndarray) and isinstance(x, np.ndarray):  # in one pass over g, which may be large
        return [d_x, *(kernels.matmul_and_sums(g, x) if needs[1] or needs[2] else (None, None))]
    return [d_x, _matmul(g.mT, x) if needs[1] else None, g.sum(0) if needs[2] else None]


affine: Any = primitive(
    "linear",
    lambda x, weight, bias: kernels.matmul(x, weight.T, bias),
    _affine_vjp,
    joint=True,
    numeric=True,
    expects="x [n, k], weight [m, k] and bias [m]",
)


def matmul(x: Any, y: Any) -> Any:
    """x @ y over the last two dimensions, the others broadcast; a vector is taken as a row (x) or a column (y)."""
    try:
        x_shape, y_shape = x.shape, y.shape
    except AttributeError:
        got = f"{type(x).__name__} and {type(y).__name__}"
        raise TypeError(f"matmul: expected two tensors, got {got}") from None
    if len(x_shape) == 2 == len(y_shape):
        return _matmul(x, y)
    if not x_shape or not y_shape:
        raise ValueError(f"matmul: expected at least one dimension in each, got {x_shape} and {y_shape}")
    if len(y_shape) == 1:
        return reshape(matmul(x, reshape(y, (-1, 1))), x_shape[:-1])
    if len(x_shape) == 1:
        return reshape(matmul(reshape(x, (1, -1)), y), (*y_shape[:-2], y_shape[-1]))
    if len(y_shape) == 2 and x_shape[-1] == y_shape[0] and x_shape[-1]:
        # One product over all leading dimensions: faster, and y's gradient is one product too, not one for each.
        return reshape(_matmul(reshape(x, (-1, x_shape[-1])), y), (*x_shape[:-1], y_shape[-1]))
    return _matmul(x, y)
