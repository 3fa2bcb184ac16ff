"""The p-norms of vectors, made of other primitives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import operand
from .elementwise import abs, eq, ne, sign, sqrt, where
from .reduce import amax, amin, sum
from .static import dim_or_axis, keepdim_flag


def norm(
    x: Any,
    p: Any = "fro",
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: Any = None,
) -> Any:
    """Return (sum |x_i|^p)^(1/p) over the dimensions `dim` taken as one vector, all by default.

    p: a number; inf is the largest |x_i|, -inf the smallest, 0 the count of those other than 0, and "fro" is 2. The
    gradient at a vector of zeros is 0; the largest |x_i| that are equal share it. Raise TypeError unless x is floating
    and p such a number.
    """
    x = x if isinstance(x, Box) else operand("norm: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("norm", dim, axis), keepdim_flag("norm", keepdim, keepdims)
    if x.dtype.kind != "f":
        raise TypeError(f"norm: x: expected a floating dtype, got {x.dtype}")
    p = 2.0 if isinstance(p, str) and p == "fro" else p
    if isinstance(p, (bool, np.bool_)) or not isinstance(p, (int, float, np.number)) or math.isnan(p):
        raise TypeError(f"norm: p: expected a number or 'fro', got {p!r}")
    p = float(p)
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs(x), dim, keepdim)
    if p == 1:
        return sum(abs(x), dim, keepdim)
    if p == 2:
        return _root(sum(x * x, dim, keepdim), p)
    if p == 0:
        return sum(where(ne(x, 0.0), 1.0, sign(x)), dim, keepdim)
    zero = eq(x, 0.0)
    powers = where(zero, 1.0, abs(x)) ** p
    return _root(sum(where(zero, 0.0 if p > 0 else math.inf, powers), dim, keepdim), p)


def _root(total: Any, p: float) -> Any:
    """Return total^(1/p). Where the total is 0 the gradient is 0, though the slope of the root is infinite."""
    flat = eq(total, 0.0)
    positive = where(flat, 1.0, total)
    return where(flat, 0.0 if p > 0 else math.inf, sqrt(positive) if p == 2 else positive ** (1 / p))
