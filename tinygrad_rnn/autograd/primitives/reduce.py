"""Primitives that reduce over dimensions: sum, mean, var, any, all, max, min, and softmax, which divides by a sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import operand
from ..primitive import primitive
from .elementwise import (
    cast,
    eq,
    exp,
    floating,
    logical_or,
    ne,
    sqrt,
    where,
)
from .index import take_along
from .shape import (
    axes_of,
    axis_of,
    broadcast_to,
    flip,
    reshape,
)
from .static import as_int, dim_or_axis, keepdim_flag


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a reduction that leaves the reduced dimensions at size 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


_sum = primitive(
    "sum",
    lambda x, axes, shape, keepdim: x.sum(axes, None if x.dtype.kind == "f" else np.int64, keepdims=keepdim),
    lambda g, axes, shape: broadcast_to(reshape(g, _kept(shape, axes)), shape),
)


def sum(
    x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Any:
    """Return the sum over the dimensions `dim`, all by default. Integers and booleans are summed as int64."""
    x = x if isinstance(x, Box) else operand("sum: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("sum", dim, axis), keepdim_flag("sum", keepdim, keepdims)
    return _sum(x, axes_of("sum", dim, len(x.shape)), x.shape, keepdim)


def mean(
    x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Any:
    """Return the mean over the dimensions `dim`, all by default. Over no elements it is NaN."""
    x = x if isinstance(x, Box) else operand("mean: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("mean", dim, axis), keepdim_flag("mean", keepdim, keepdims)
    count = math.prod(x.shape[i] for i in axes_of("mean", dim, len(x.shape)))
    return sum(x, dim, keepdim) / count if count else sum(x, dim, keepdim) * math.nan


def var(
    x: Any,
    dim: int | Sequence[int] | None = None,
    correction: int = 1,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: Any = None,
) -> Any:
    """The mean square distance from the mean, over n - correction: 1 for a sample (the default), 0 for all there is."""
    x = x if isinstance(x, Box) else operand("var: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("var", dim, axis), keepdim_flag("var", keepdim, keepdims)
    count = math.prod(x.shape[i] for i in axes_of("var", dim, len(x.shape)))
    distance = floating(x) - mean(x, dim, keepdim=True)
    total, correction = sum(distance * distance, dim, keepdim), as_int("var: correction", correction)
    return total / (count - correction) if count > correction else total * math.nan


def std(
    x: Any,
    dim: int | Sequence[int] | None = None,
    correction: int = 1,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: Any = None,
) -> Any:
    """Return the square root of `var`. Where that is 0 the gradient is 0."""
    x = x if isinstance(x, Box) else operand("std: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("std", dim, axis), keepdim_flag("std", keepdim, keepdims)
    square = var(x, dim, correction, keepdim)
    flat = eq(square, 0.0)
    return where(flat, 0.0, sqrt(where(flat, 1.0, square)))


_any = primitive("any", lambda x, axes, keepdim: x.any(axes, keepdims=keepdim))
_all = primitive("all", lambda x, axes, keepdim: x.all(axes, keepdims=keepdim))


def any(
    x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Any:
    """Return whether some element along the dimensions `dim` (all by default) is not 0, as booleans. NaN is not 0."""
    x = x if isinstance(x, Box) else operand("any: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("any", dim, axis), keepdim_flag("any", keepdim, keepdims)
    return _any(x, axes_of("any", dim, len(x.shape)), keepdim)


def all(
    x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Any:
    """Return whether no element along the dimensions `dim` (all by default) is 0, as booleans. NaN is not 0."""
    x = x if isinstance(x, Box) else operand("all: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("all", dim, axis), keepdim_flag("all", keepdim, keepdims)
    return _all(x, axes_of("all", dim, len(x.shape)), keepdim)


_cumsum: Callable[..., Any] = primitive(
    "cumsum",
    lambda x, axis: np.cumsum(x, axis, None if x.dtype.kind == "f" else np.int64),
    lambda g, axis: flip(_cumsum(flip(g, axis), axis), axis),
)


def cumsum(x: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """Return out_i = x_1 + ... + x_i along a dimension. Integers and booleans are summed as int64."""
    x = x if isinstance(x, Box) else operand("cumsum: x", x)
    axis = axis_of("cumsum", dim_or_axis("cumsum", dim, axis), len(x.shape))
    return _cumsum(x, axis) if x.shape else sum(x)


def _to_extremes(g: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The cotangent of a maximum or minimum, shared alike among all that attain it: those that are NaN, if any is."""
    shape = _kept(x.shape, axes)
    attained = logical_or(eq(x, reshape(out, shape)), ne(x, x))
    return where(attained, reshape(g, shape) / sum(cast(attained, g.dtype), axes, True), 0.0)


_amax = primitive(
    "amax",
    lambda x, axes, keepdim: x.max(axes, keepdims=keepdim),
    lambda g, out, x, axes: _to_extremes(g, out, x, axes),
    expects="at least one element to take the maximum of",
)
_amin = primitive(
    "amin",
    lambda x, axes, keepdim: x.min(axes, keepdims=keepdim),
    lambda g, out, x, axes: _to_extremes(g, out, x, axes),
    expects="at least one element to take the minimum of",
)
_argmax = primitive("argmax", lambda x, axis: x.argmax(axis), expects="at least one element")
_argmin = primitive("argmin", lambda x, axis: x.argmin(axis), expects="at least one element")


def amax(
    x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Any:
    """Return the largest element along the dimensions `dim`, all by default. Equal ones share the gradient."""
    x = x if isinstance(x, Box) else operand("amax: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("amax", dim, axis), keepdim_flag("amax", keepdim, keepdims)
    return _amax(x, axes_of("amax", dim, len(x.shape)), keepdim)


def amin(
    x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Any:
    """Return the smallest element along the dimensions `dim`, all by default. Equal ones share the gradient."""
    x = x if isinstance(x, Box) else operand("amin: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("amin", dim, axis), keepdim_flag("amin", keepdim, keepdims)
    return _amin(x, axes_of("amin", dim, len(x.shape)), keepdim)


def _arg(which: Any, name: str, x: Any, dim: int | None, keepdim: bool) -> Any:
    if dim is None:
        found = which(reshape(x, (-1,)), 0)
        return reshape(found, (1,) * len(x.shape)) if keepdim else found
    axis = axis_of(name, dim, len(x.shape))
    found = which(x, axis)
    return reshape(found, _kept(x.shape, (axis,))) if keepdim else found


def argmax(x: Any, dim: int | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """Return the index of the first largest element along `dim`, or in the flattened tensor."""
    x = x if isinstance(x, Box) else operand("argmax: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("argmax", dim, axis), keepdim_flag("argmax", keepdim, keepdims)
    return _arg(_argmax, "argmax", x, dim, keepdim)


def argmin(x: Any, dim: int | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """Return the index of the first smallest element along `dim`, or in the flattened tensor."""
    x = x if isinstance(x, Box) else operand("argmin: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("argmin", dim, axis), keepdim_flag("argmin", keepdim, keepdims)
    return _arg(_argmin, "argmin", x, dim, keepdim)


class Extreme(NamedTuple):
    """The results of `max` and `min` along one dimension."""

    values: Any
    indices: Any


def _extreme(x: Any, indices: Any, dim: int, keepdim: bool) -> Extreme:
    values = take_along(x, axis_of("max", dim, len(x.shape)), indices)
    shape = indices.shape if keepdim or not x.shape else tuple(np.delete(x.shape, dim).tolist())
    return Extreme(reshape(values, shape), reshape(indices, shape))


def max(x: Any, dim: int | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """The largest element; along a dimension (values, indices) of the first largest, which gets the gradient."""
    x = x if isinstance(x, Box) else operand("max: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("max", dim, axis), keepdim_flag("max", keepdim, keepdims)
    return amax(x, None, keepdim) if dim is None else _extreme(x, argmax(x, dim, keepdim=True), dim, keepdim)


def min(x: Any, dim: int | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """The smallest element; along a dimension (values, indices) of the first smallest, which gets the gradient."""
    x = x if isinstance(x, Box) else operand("min: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("min", dim, axis), keepdim_flag("min", keepdim, keepdims)
    return amin(x, None, keepdim) if dim is None else _extreme(x, argmin(x, dim, keepdim=True), dim, keepdim)


# Softmax. The largest element is subtracted first, so that nothing overflows.


def _log_softmax_forward(x: Any, axis: int) -> Any:
    if x.size == 0:
        return x.copy()
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def _softmax_forward(x: Any, axis: int) -> Any:
    if x.size == 0:
        return x.copy()
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


_softmax = primitive(
    "softmax",
    _softmax_forward,
    lambda g, out, axis: out * (g - sum(g * out, axis, True)),
    floats=True,
)
_log_softmax = primitive(
    "log_softmax",
    _log_softmax_forward,
    lambda g, out, axis: g - exp(out) * sum(g, axis, True),
    floats=True,
)


def softmax(x: Any, dim: int = -1, *, axis: Any = None) -> Any:
    """e^x_i / sum_j e^x_j along a dimension."""
    x = x if isinstance(x, Box) else operand("softmax: x", x)
    return _softmax(x, axis_of("softmax", dim_or_axis("softmax", dim, axis, -1), len(x.shape)))


def log_softmax(x: Any, dim: int = -1, *, axis: Any = None) -> Any:
    """x_i - log(sum_j e^x_j) along a dimension."""
    x = x if isinstance(x, Box) else operand("log_softmax: x", x)
    return _log_softmax(x, axis_of("log_softmax", dim_or_axis("log_softmax", dim, axis, -1), len(x.shape)))


def _logsumexp_forward(x: Any, axes: tuple[int, ...]) -> Any:
    top = x.max(axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return top + np.log(np.exp(x - top).sum(axes, keepdims=True))


_logsumexp = primitive(
    "logsumexp",
    _logsumexp_forward,
    lambda g, out, x: g * exp(x - out),
    floats=True,
    expects="at least one element",
)


def logsumexp(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """log(sum e^x) over the dimensions `dim`, without overflow."""
    x = x if isinstance(x, Box) else operand("logsumexp: x", x)
    if axis is not None or keepdims is not None:
        dim, keepdim = dim_or_axis("logsumexp", dim, axis), keepdim_flag("logsumexp", keepdim, keepdims)
    axes = axes_of("logsumexp", dim, len(x.shape))
    out = _logsumexp(x, axes)
    return out if keepdim else reshape(out, tuple(n for i, n in enumerate(x.shape) if i not in axes))
