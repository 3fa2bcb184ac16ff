"""Primitives that pick by index, and their adjoint, which adds into place: `x[index]`, gather, embedding.

Indices are lists, NumPy's arrays, or tensors that are where x is or on the CPU: those are looked through there, which
costs no wait for a GPU, and then brought to x. NumPy refuses an index out of range; CuPy would take it modulo the
size, so for its arrays the range is seen to here.
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
    """An index that nobody can change any more: whole numbers, slices of them, arrays of our own.

    The caller may write into his later, into a tensor's through an array that shares its memory, and the backward goes
    by the index once more, unchecked.
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
    return None if value is None else as_int("index", value, "slices between whole numbers")


def _bare(x: Any) -> Any:
    return x.array if isinstance(x, Box) else x


def _usable(x: Any, index: Any) -> Any:
    """`_plain(index)`, for a GPU checked and brought there."""
    index = _plain(index)
    return _brought(index, x) if on_gpu(_bare(x)) else index


def _brought(index: Any, x: Any) -> Any:
    """An index on the GPU where x is, its integers within the sizes that they count through."""
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
    """How many dimensions a part of an index is about; None for the ellipsis, which takes those that are left."""
    if part is Ellipsis:
        return None
    if part is None or isinstance(part, (bool, np.bool_)):
        return 0
    return part.ndim if getattr(part, "dtype", None) == np.bool_ else 1


def _is_basic(index: Any) -> bool:
    """Whether an index picks each element at most once, as slices and single positions do."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)


def _added_into_place(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros_like(g, shape=shape)
    if _is_basic(index):
        out[index] = g
    elif on_gpu(out):  # its ufunc.at adds in whatever order threads arrive
        if _is_integers(index):
            rows, count, width = index % shape[0], shape[0], math.prod(shape[1:])
        else:
            rows, count, width = _places(index, out), out.size, 1
        return dense.add_rows(g.reshape(rows.size, width), rows.reshape(-1), count).reshape(shape)
    else:
        np.add.at(out, index, g)
    return out


def _is_integers(part: Any) -> bool:
    return hasattr(part, "dtype") and part.dtype.kind in "iu"


def _places(index: Any, x: Any) -> Any:
    """The number, in row-major order, of each element that an index picks from an array."""
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
    expects="an index within the shape",
)
_scatter: Callable[..., Any] = primitive(
    "scatter", _added_into_place, lambda g, index, shape: _getitem(g, index, shape)
)


def getitem(x: Any, index: Any) -> Any:
    """x[index] with NumPy's rules: positions, slices, None, ..., integer and boolean arrays or tensors."""
    x = x if isinstance(x, Box) else operand("getitem: x", x)
    on_the_cpu = type(_bare(x)) is np.ndarray
    return _getitem(x, _plain(index) if on_the_cpu else _usable(x, index), x.shape)


def index_put(x: Any, index: Any, value: Any) -> Any:
    """A copy of an array in which the places of an index hold a value: a number, lists, an array or a tensor."""
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
    """`gather` by an index that is known to fit and to be where x is."""
    index = _bare(index)
    grid = [np.arange(n, like=index).reshape(n, *[1] * (index.ndim - i - 1)) for i, n in enumerate(index.shape)]
    return _getitem(x, tuple(index if i == axis else at for i, at in enumerate(grid)), x.shape)


def gather(x: Any, dim: Any = None, index: Any = None, *, axis: Any = None) -> Any:
    """out[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and so for the others; index has as many dimensions as x."""
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
    """An index that is one array, of our own: a copy."""
    found = array_of(name, index, "float64", True, "integers")
    if isinstance(index, list) and not found.size:
        found = found.astype(np.int64)
    return found.copy()


def positions(name: str, index: Any, x: Any, size: int) -> Any:
    """An array of integers, from 0 to below size or IndexError, brought to where x is. name: for messages."""
    _check_range(name, index, size)
    if on_gpu(index):
        same_device(name, index, x, "what it picks from is")
    return array_like(index, x)


def _check_range(name: str, index: Any, size: int, low: int = 0) -> None:
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
    """weight[index], a row for each entry of an integer tensor. weight [V, D], index of any shape -> [..., D]."""
    index, weight = _array("embedding: index", index), operand("embedding: weight", weight)
    if len(weight.shape) != 2:
        raise ValueError(f"embedding: weight: expected two dimensions, got shape {weight.shape}")
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: index: expected integers, got {index.dtype}")
    return _take_rows(weight, positions("embedding: index", index, weight, weight.shape[0]), weight.shape[0])
