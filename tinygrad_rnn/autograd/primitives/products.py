"""The batched matrix product, and the products x W^T and x W^T + b of linear layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import operand
from ...kernels import dense
from ..primitive import primitive
from .shape import reshape

_NO_TENSORS = (bool, int, float, list, tuple)

_matmul: Any = primitive(
    "matmul",
    lambda x, y: dense.matmul(x, y),
    lambda g, x, y: _matmul(g, y.mT),
    lambda g, x, y: _matmul(x.mT, g),
    numeric=True,
    unaliased=True,
    expects="x [..., n, k] and y [..., k, m]",
)


def _rows(x: Any) -> Any:
    """Return x [..., k] as a matrix [rows, k]."""
    return x if len(x.shape) == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _times_transposed(x: Any, weight: Any, bias: Any = None) -> Any:
    """Return x weight^T, with the bias added if there is one: x [..., k], weight [m, k], bias [m] -> [..., m]."""
    out = dense.matmul(_rows(x), weight.T, bias)
    return out if len(x.shape) == 2 else out.reshape(*x.shape[:-1], weight.shape[0])


def _linear_vjp(needs: list[bool], g: Any, x: Any, weight: Any) -> list[Any]:
    """Return the cotangents of x, of the weight and, if it is asked for, of the bias."""
    g, rows = _rows(g), _rows(x)
    d_x = _matmul(g, weight) if needs[0] else None
    if d_x is not None and len(x.shape) != 2:
        d_x = d_x.reshape(x.shape)
    if any(needs[2:]) and isinstance(g, np.ndarray) and isinstance(rows, np.ndarray):
        return [d_x, *dense.matmul_and_sums(g, rows)]  # reads g, which may be large, only once
    # g.mT x has the layout of the weight; x.mT g would not.
    return [d_x, _matmul(g.mT, rows) if needs[1] else None, *(g.sum(0) if need else None for need in needs[2:])]


linear: Any = primitive(
    "linear",
    lambda x, weight: _times_transposed(x, weight),
    _linear_vjp,
    combined=True,
    numeric=True,
    unaliased=True,
    expects="x [..., k] and weight [m, k]",
)

affine: Any = primitive(
    "linear",
    lambda x, weight, bias: _times_transposed(x, weight, bias),
    _linear_vjp,
    combined=True,
    numeric=True,
    unaliased=True,
    expects="x [..., k], weight [m, k] and bias [m]",
)


def bmm(x: Any, y: Any) -> Any:
    """Return the products of two batches of matrices: x [b, n, k], y [b, k, m] -> [b, n, m].

    It is `matmul` without broadcasting. Raise ValueError for other shapes, TypeError for different dtypes.
    """
    x, y = operand("bmm: x", x), operand("bmm: y", y)
    if len(x.shape) != 3 or len(y.shape) != 3 or x.shape[0] != y.shape[0] or x.shape[2] != y.shape[1]:
        raise ValueError(f"bmm: expected x [b, n, k] and y [b, k, m], got {x.shape} and {y.shape}")
    return _matmul(x, y)


def matmul(x: Any, y: Any) -> Any:
    """Return x @ y over the last two dimensions; the leading dimensions broadcast.

    x [..., n, k], y [..., k, m] -> [..., n, m]. A vector counts as a row (x [k]) or a column (y [k]), and its dimension
    of size 1 is dropped from the result. Raise ValueError for sizes that do not fit or a scalar, TypeError for numbers,
    lists or different dtypes.
    """
    if not isinstance(x, Box) or not isinstance(y, Box):
        if isinstance(x, _NO_TENSORS) or isinstance(y, _NO_TENSORS):
            raise TypeError(f"matmul: expected two tensors, got {type(x).__name__} and {type(y).__name__}")
        x, y = operand("matmul: x", x), operand("matmul: y", y)
    x_shape, y_shape = x.shape, y.shape
    if len(x_shape) == 2 == len(y_shape):
        return _matmul(x, y)
    if not x_shape or not y_shape:
        raise ValueError(f"matmul: expected at least one dimension in each, got {x_shape} and {y_shape}")
    if len(y_shape) == 1:
        return reshape(matmul(x, reshape(y, (-1, 1))), x_shape[:-1])
    if len(x_shape) == 1:
        return reshape(matmul(reshape(x, (1, -1)), y), (*y_shape[:-2], y_shape[-1]))
    if len(y_shape) == 2 and x_shape[-1] == y_shape[0] and x_shape[-1]:
        # One product over all leading dimensions is faster than many, in the gradient of y too.
        return reshape(_matmul(reshape(x, (-1, x_shape[-1])), y), (*x_shape[:-1], y_shape[-1]))
    return _matmul(x, y)
