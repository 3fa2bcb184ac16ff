"""Primitives that pick elements by index (`x[index]`, gather, embedding), and their adjoint, which scatters and adds.

An index is a list, a NumPy array, or a tensor on the device of x or on the CPU. An index on the CPU is checked there,
so that the check does not wait for the GPU, and then brought to x. NumPy raises for an index out of range, but CuPy
would wrap it around, so this file checks the range for a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import array_of, operand
from ...arrays.device import (
    array_like,
    device_of,
    numbers,
    on_gpu,
    same_device,
    to_device,
)
from ...kernels import dense
from ..primitive import primitive
from .shape import axis_of
from .static import as_int, dim_or_axis


def _plain(index: Any) -> Any:
    """Return an index as integers, slices of integers and arrays that nobody else holds.

    The backward uses the index again, unchecked, and the caller may write into his own array before that: copy it.
    Raise TypeError for anything but integers and booleans.
    """
    kind = type(index)
    if kind is int or index is None or index is Ellipsis or kind is bool or kind is float:
        return index
    if kind is slice:
        bounds = index.start, index.stop, index.step
        return index if all(b is None or type(b) is int for b in bounds) else slice(*map(_bound, bounds))
    if isinstance(index, tuple):
        return tuple([_plain(part) for part in index])
    if isinstance(index, (list, range)):
        found = array_of("index", index, "float64", True, "integers or booleans")
        found = found if found.size or found.ndim > 1 or len(index) else found.astype(np.int64)
    elif hasattr(index, "__index__") and not hasattr(index, "shape"):
        return as_int("index", index)
    else:
        found = array_of("index", index, "float64", True, "integers or booleans")
        if not found.ndim and found.dtype.kind in "iu":
            return int(found)
        found = found if kind is not np.ndarray and not isinstance(index, Box) and found is not index else found.copy()
    if found.dtype.kind not in "biu":
        raise TypeError(f"index: expected integers or booleans, got {found.dtype}")
    return found


def _bound(value: Any) -> int | None:
    """Return a bound of a slice as a Python int or None."""
    return None if value is None else as_int("index", value, "slices between whole numbers")


def _bare(x: Any) -> Any:
    """Return the array of a tensor, and anything else as it is."""
    return x.array if isinstance(x, Box) else x


def _usable(x: Any, index: Any) -> Any:
    """Return `_plain(index)`; if x is on a GPU, also check its range and bring it there."""
    index = _plain(index)
    return _brought(index, x) if on_gpu(_bare(x)) else index


def _brought(index: Any, x: Any) -> Any:
    """Return an index on the GPU of x. Raise IndexError if an integer in it is outside of its dimension."""
    parts = index if isinstance(index, tuple) else (index,)
    widths = [_width(part) for part in parts]
    rest = len(x.shape) - sum(width for width in widths if width is not None)
    axis, found = 0, []
    for part, width in zip(parts, widths):
        if hasattr(part, "dtype"):
            if _is_integers(part) and axis < len(x.shape):
                _check_range("index", part, x.shape[axis], -x.shape[axis])
            part = to_device(np.asarray(part) if isinstance(part, np.generic) else part, device_of(x))
        found.append(part)
        axis += rest if width is None else width
    return tuple(found) if isinstance(index, tuple) else found[0]


def _width(part: Any) -> int | None:
    """Return how many dimensions of x a part of an index covers; None for the ellipsis, which covers the rest."""
    if part is Ellipsis:
        return None
    if part is None or isinstance(part, (bool, np.bool_)):
        return 0
    return part.ndim if getattr(part, "dtype", None) == np.bool_ else 1


def _is_basic(index: Any) -> bool:
    """Return whether an index consists of slices and single positions, which pick each element at most once."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)


def _added_into_place(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros of this shape with each element of g added at its position: the adjoint of x[index]."""
    out = np.zeros_like(g, shape=shape)
    if _is_basic(index):
        out[index] = g
    elif on_gpu(out):  # CuPy's ufunc.at adds in an order that varies, so its result would not be repeatable
        if _is_integers(index):
            rows, count, width = index % shape[0], shape[0], math.prod(shape[1:])
        else:
            rows, count, width = _flat_positions(index, out), out.size, 1
        return dense.add_rows(g.reshape(rows.size, width), rows.reshape(-1), count).reshape(shape)
    else:
        np.add.at(out, index, g)
    return out


def _add_into(total: Any, g: Any, index: Any, shape: tuple[int, ...]) -> None:
    """Add each element of g to a total of this shape at its position, in place."""
    if _is_basic(index):
        total[index] += g
    elif on_gpu(total):
        total += _added_into_place(g, index, shape)
    else:
        np.add.at(total, index, g)


def _is_integers(part: Any) -> bool:
    return hasattr(part, "dtype") and part.dtype.kind in "iu"


def _flat_positions(index: Any, x: Any) -> Any:
    """Return the row-major position of each element that an index picks from an array."""
    if isinstance(index, tuple) and len(index) == x.ndim and all(map(_is_integers, index)):
        found: Any = 0
        for part, n in zip(index, x.shape):
            found = found * n + part % n
        return found
    return np.arange(x.size, like=x).reshape(x.shape)[index]


_getitem = primitive(
    "getitem",
    lambda x, index, shape: x[index],
    lambda g, index, shape: _scatter(g, index, shape),
    view=True,
    add_into=_add_into,
    expects="an index within the shape",
)
_scatter: Callable[..., Any] = primitive(
    "scatter", _added_into_place, lambda g, index, shape: _getitem(g, index, shape)
)


def getitem(x: Any, index: Any) -> Any:
    """Return x[index] by NumPy's rules.

    index: integers, slices, None, `...`, integer and boolean arrays or tensors, or a tuple of these. Integers and
    slices give a view, arrays a copy. The gradient of an element that is picked twice is the sum of both. Raise
    IndexError for an index outside of the shape, TypeError for one that is neither integer nor boolean.
    """
    x = x if isinstance(x, Box) else operand("getitem: x", x)
    on_the_cpu = type(_bare(x)) is np.ndarray
    return _getitem(x, _plain(index) if on_the_cpu else _usable(x, index), x.shape)


def index_put(x: Any, index: Any, value: Any) -> Any:
    """Return a copy of the array x in which the elements of an index hold a value.

    value: a number, nested lists, an array, or a tensor on the device of x, that broadcasts to x[index]. Raise
    IndexError or ValueError if the index or the value does not fit, RuntimeError for a value on another device.
    """
    out = x.copy()
    if isinstance(value, Box):
        same_device("x[index] = value: value", value, x, "x is")
    if type(value) not in (bool, int, float):
        value = array_like(value, x, "x[index] = value: value")
    try:
        out[_usable(x, index)] = value
    except (IndexError, ValueError) as error:
        kind = IndexError if isinstance(error, IndexError) else ValueError
        raise kind(f"x[index] = value: expected both to fit in x of shape {x.shape}, got {error}") from error
    return out


def take_along(x: Any, axis: int, index: Any) -> Any:
    """Return `gather` of an index that the caller has checked and brought to the device of x."""
    index = _bare(index)
    grid = [np.arange(n, like=index).reshape(n, *[1] * (index.ndim - i - 1)) for i, n in enumerate(index.shape)]
    return _getitem(x, tuple(index if i == axis else at for i, at in enumerate(grid)), x.shape)


def gather(x: Any, dim: Any = None, index: Any = None, *, axis: Any = None) -> Any:
    """Return out with out[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and likewise for the other dimensions.

    index: integers in [0, size of dim), in as many dimensions as x, and not larger than x in those other than dim.
    The result has the shape of index and the dtype of x. Raise ValueError for another shape or dtype of the index,
    IndexError for an integer out of range.
    """
    x = operand("gather: x", x)
    axis = axis_of("gather", dim_or_axis("gather", dim, axis), len(x.shape))
    index = _array("gather: index", index)
    if index.dtype.kind not in "iu" or index.ndim != len(x.shape):
        raise ValueError(
            f"gather: index: expected integers in {len(x.shape)} dimensions, got {index.dtype} of shape {index.shape}"
        )
    if any(n > m for i, (n, m) in enumerate(zip(index.shape, x.shape)) if i != axis):
        raise ValueError(f"gather: index: expected a shape within {x.shape} but for dim {dim}, got {index.shape}")
    return take_along(x, axis, positions("gather: index", index, x, x.shape[axis] if x.shape else 1))


def _array(name: str, index: Any) -> Any:
    """Return an index that is one array, as a copy, so that the caller's later writes do not reach it."""
    found = array_of(name, index, "float64", True, "integers")
    if isinstance(index, list) and not found.size:
        found = found.astype(np.int64)
    return found.copy()


def positions(name: str, index: Any, x: Any, size: int) -> Any:
    """Return an array of integers brought to the device of x. Raise IndexError unless all are in [0, size).

    name: the argument's name, for errors.
    """
    _check_range(name, index, size)
    if on_gpu(index):
        same_device(name, index, x, "what it picks from is")
    return array_like(index, x)


def _check_range(name: str, index: Any, size: int, low: int = 0) -> None:
    """Raise IndexError unless all integers of an array are in [low, size)."""
    if index.size:
        least, most = numbers(index.min(), index.max())
        if least < low or most >= size:
            worst = int(least if least < low else most)
            raise IndexError(f"{name}: expected numbers from {low} to {size - 1}, got {worst}")


_take_rows = primitive(
    "embedding",
    lambda weight, index, rows: weight[index],
    lambda g, index, rows: _add_rows(g, index, rows),
    unaliased=True,
)
_add_rows: Callable[..., Any] = primitive(
    "add_rows",
    lambda g, index, rows: dense.add_rows(g.reshape(index.size, g.shape[-1]), index.reshape(-1), rows),
    lambda g, index, rows: _take_rows(g, index, rows),
)


def embedding(index: Any, weight: Any) -> Any:
    """Return weight[index], a row of the weight for each integer of the index.

    index: integers in [0, V), of any shape [...]. weight [V, D] -> [..., D] in the dtype of weight. Raise TypeError for
    an index of another dtype, IndexError for one out of range, ValueError for a weight of another shape.
    """
    index, weight = _array("embedding: index", index), operand("embedding: weight", weight)
    if len(weight.shape) != 2:
        raise ValueError(f"embedding: weight: expected two dimensions, got shape {weight.shape}")
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: index: expected integers, got {index.dtype}")
    return _take_rows(weight, positions("embedding: index", index, weight, weight.shape[0]), weight.shape[0])
