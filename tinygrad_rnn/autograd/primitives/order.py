"""Primitives that order elements: sort, argsort and the k largest. NaN counts as larger than every number.

The positions are computed without a gradient, and the values picked by them, so a gradient passes to each picked
element. Of equal elements the first comes first, in both directions and on each device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import operand
from ..primitive import primitive
from .index import take_along
from .shape import axis_of, reshape
from .static import as_int, dim_or_axis, flag


def _order(x: Any, axis: int, descending: bool, count: int) -> Any:
    """Return the positions of the first `count` elements along an axis in the order that a stable sort gives."""
    n = x.shape[axis]
    if type(x) is np.ndarray and 0 < 8 * count < n:
        found = _order_of_few(x, axis, descending, count)
        if found is not None:
            return found
    if descending:  # from the back, so that equal elements stay in their order
        order = n - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    return order if count == n else order[(slice(None),) * axis + (slice(count),)].copy()


def _order_of_few(x: np.ndarray, axis: int, descending: bool, count: int) -> np.ndarray | None:
    """Do as `_order` without sorting all elements. Return None if NaN or equal elements need the stable sort."""
    rows, n = np.moveaxis(x, axis, -1), x.shape[axis]
    first, last = (n - count, n) if descending else (0, count)
    places = np.argpartition(rows, first if descending else last - 1, -1)[..., first:last]
    values = np.take_along_axis(rows, places, -1)
    within = rows >= values.min(-1, keepdims=True) if descending else rows <= values.max(-1, keepdims=True)
    if np.count_nonzero(within) != places.size:
        return None
    places.sort(-1)
    order = _order(np.take_along_axis(rows, places, -1), places.ndim - 1, descending, count)
    return np.ascontiguousarray(np.moveaxis(np.take_along_axis(places, order, -1), -1, axis))


_argsort = primitive("argsort", _order)


class Ordered(NamedTuple):
    """The results of `sort` and `topk`: the elements in order, and the position that each had."""

    values: Any
    indices: Any


def _ordered(x: Any, axis: int, descending: bool, count: int) -> Ordered:
    if x.shape:
        indices = _argsort(x, axis, descending, count)
        return Ordered(take_along(x, axis, indices), indices)
    values, indices = _ordered(reshape(x, (1,)), 0, descending, count)
    return Ordered(reshape(values, ()), reshape(indices, ())) if count else Ordered(values, indices)


def sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: Any = None) -> Ordered:
    """Return (values, indices): the elements in order along a dimension, with values = gather(x, dim, indices).

    The order is always stable, also without `stable`. NaN counts as the largest. indices: int64, a constant.
    """
    x = x if isinstance(x, Box) else operand("sort: x", x)
    axis, descending = _checked("sort", x, dim_or_axis("sort", dim, axis, -1), descending, stable)
    return _ordered(x, axis, descending, x.shape[axis] if x.shape else 1)


def argsort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: Any = None) -> Any:
    """Return the indices of `sort`."""
    x = x if isinstance(x, Box) else operand("argsort: x", x)
    axis, descending = _checked("argsort", x, dim_or_axis("argsort", dim, axis, -1), descending, stable)
    rows = x if x.shape else reshape(x, (1,))
    return reshape(_argsort(rows, axis, descending, rows.shape[axis]), x.shape)


def _checked(name: str, x: Any, dim: Any, descending: Any, stable: Any) -> tuple[int, bool]:
    flag(f"{name}: stable", stable)
    return axis_of(name, dim, len(x.shape)), flag(f"{name}: descending", descending)


def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, axis: Any = None) -> Ordered:
    """Return (values, indices) of the k largest elements along a dimension, or of the k smallest, best first.

    They are in order also with sorted=False. NaN counts as the largest; of equal elements the first are chosen.
    Raise ValueError unless k is from 0 to the size of the dimension.
    """
    x = x if isinstance(x, Box) else operand("topk: x", x)
    axis = axis_of("topk", dim_or_axis("topk", dim, axis, -1), len(x.shape))
    k, size = as_int("topk: k", k), x.shape[axis] if x.shape else 1
    if not 0 <= k <= size:
        raise ValueError(f"topk: k: expected a whole number from 0 to {size}, got {k}")
    flag("topk: sorted", sorted)
    return _ordered(x, axis, flag("topk: largest", largest), k)
