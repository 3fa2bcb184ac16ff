"""The rows of a model's state: the selection of rows of the batch from tensors in any nesting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.primitives.static import as_int
from ..tensor import Tensor


def select(state: Any, index: np.ndarray, rows: int, batch_dim: Any = None, path: str = "state") -> Any:
    """Return a state with the rows `index` of the batch, in the same nesting.

    state: tensors or arrays in tuples, named tuples, lists and dicts; None and plain numbers stay as they are.
    rows: the size of the batch in `state`.
    batch_dim: the dimension of the batch. None: 1 in tensors of three dimensions or more, as in the state of a
        recurrent layer [layers, N, H], and 0 in others. An integer holds for all tensors. A tuple, list or dict holds
        one of these for each part of the state: (1, 0) for a state of two parts.
    path: how errors call the state.

    Raises ValueError for a tensor that has another size there, TypeError for another kind of value.
    """
    if isinstance(state, (Tensor, np.ndarray)):
        return _selected(state, index, rows, batch_dim, path)
    if state is None or isinstance(state, (bool, int, float, str)):
        return state
    if isinstance(state, dict):
        dims = _parts(batch_dim, state.keys(), path)
        return {k: select(v, index, rows, dims[k], f"{path}[{k!r}]") for k, v in state.items()}
    if isinstance(state, (tuple, list)):
        dims = _parts(batch_dim, range(len(state)), path)
        found = [select(v, index, rows, dims[k], f"{path}[{k}]") for k, v in enumerate(state)]
        return type(state)(*found) if hasattr(state, "_fields") else type(state)(found)
    got = type(state).__name__
    raise TypeError(f"{path}: expected tensors in tuples, lists and dicts, or None, got {got}")


def _parts(batch_dim: Any, keys: Any, path: str) -> Any:
    """Return the dimensions of the parts of a state by their keys."""
    if not isinstance(batch_dim, (tuple, list, dict)):
        return dict.fromkeys(keys, batch_dim)
    found = batch_dim if isinstance(batch_dim, dict) else dict(enumerate(batch_dim))
    if found.keys() != set(keys):
        raise ValueError(f"batch_dim: expected one for each part of {path}, {list(keys)}, got {batch_dim!r}")
    return found


def _selected(x: Any, index: np.ndarray, rows: int, batch_dim: Any, path: str) -> Any:
    """Return the rows of one tensor."""
    dim = (1 if x.ndim > 2 else 0) if batch_dim is None else as_int("batch_dim", batch_dim, "a whole number or None")
    if not -x.ndim <= dim < x.ndim or x.shape[dim] != rows:
        raise ValueError(
            f"{path}: expected a tensor with the batch of {rows} in dimension {dim}, got shape {x.shape}: "
            "batch_dim names another dimension"
        )
    if np.array_equal(index, np.arange(rows)):
        return x
    return x[(slice(None),) * (dim % x.ndim) + (index,)]
