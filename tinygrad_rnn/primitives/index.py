"""Primitives that pick by index, and their adjoint, which adds into place: `x[index]`, gather, embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..primitive import primitive
from .shape import axis_of


def _plain(index: Any) -> Any:
    """An index with tensors and lists in it as arrays; arrays are copied, as the caller may write into them later."""
    if isinstance(index, tuple):
        return tuple(_plain(part) for part in index)
    if hasattr(index, "node"):
        index = index.data
    elif isinstance(index, (list, range, np.ndarray)):
        index = np.array(index, np.int64 if len(np.shape(index)) and not len(index) else None)
    if isinstance(index, np.ndarray) and index.dtype.kind not in "biu":
        raise TypeError(f"index: expected integers or booleans, got {index.dtype}")
    return index


def _is_basic(index: Any) -> bool:
    """Whether an index picks each element at most once, as slices and single positions do."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)


def _added_into_place(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros_like(g, shape=shape)
    if _is_basic(index):
        out[index] = g
    else:
        np.add.at(out, index, g)
    return out


_getitem = primitive(
    "getitem",
    lambda x, index, shape: x[index],
    lambda g, index, shape: _scatter(g, index, shape),
    expects="an index within the shape",
)
_scatter: Callable[..., Any] = primitive(
    "scatter", _added_into_place, lambda g, index, shape: _getitem(g, index, shape)
)


def getitem(x: Any, index: Any) -> Any:
    """x[index] with NumPy's rules: positions, slices, None, ..., integer and boolean arrays or tensors."""
    return _getitem(x, _plain(index), x.shape)


def _along(axis: int, index: np.ndarray) -> tuple[np.ndarray, ...]:
    """The index that takes `index` along one axis and stays in place along the others; () for a scalar."""
    grid = np.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if i == axis else at for i, at in enumerate(grid))


def gather(x: Any, dim: int, index: Any) -> Any:
    """out[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and so for the others; index has as many dimensions as x."""
    axis = axis_of("gather", dim, len(x.shape))
    index = np.asarray(_plain(index))
    if index.dtype.kind not in "iu" or index.ndim != len(x.shape):
        raise ValueError(
            f"gather: index: expected integers in {len(x.shape)} dimensions, got {index.dtype} of shape {index.shape}"
        )
    if any(n > m for i, (n, m) in enumerate(zip(index.shape, x.shape)) if i != axis):
        raise ValueError(f"gather: index: expected a shape within {x.shape} but for dim {dim}, got {index.shape}")
    _check_range("gather", index, x.shape[axis] if x.shape else 1)
    return _getitem(x, _along(axis, index), x.shape)


def _check_range(name: str, index: np.ndarray, size: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= size):
        worst = index.min() if index.min() < 0 else index.max()
        raise IndexError(f"{name}: index: expected numbers from 0 to {size - 1}, got {worst}")


_take_rows = primitive(
    "embedding",
    lambda weight, index, rows: weight[index],
    lambda g, index, rows: _add_rows(g, index, rows),
    fresh=True,
)
_add_rows: Callable[..., Any] = primitive(
    "add_rows",
    lambda g, index, rows: kernels.add_rows(g.reshape(index.size, g.shape[-1]), index.reshape(-1), rows),
    lambda g, index, rows: _take_rows(g, index, rows),
)


def embedding(index: Any, weight: Any) -> Any:
    """weight[index], a row for each entry of an integer tensor. weight [V, D], index of any shape -> [..., D]."""
    index = np.asarray(_plain(index))
    if len(weight.shape) != 2:
        raise ValueError(f"embedding: weight: expected two dimensions, got shape {weight.shape}")
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: index: expected integers, got {index.dtype}")
    _check_range("embedding", index, weight.shape[0])
    return _take_rows(weight, index, weight.shape[0])
