"""Making tensors: from data, filled, or at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .device import check_device
from .random import generator
from .tape import Box
from .tensor import Tensor, as_dtype

Shape = int | Sequence[int]


def _leaf(data: np.ndarray, requires_grad: bool) -> Tensor:
    out = Tensor(data)
    out.requires_grad = requires_grad
    return out


def tensor(data: Any, requires_grad: bool = False, dtype: Any = None, device: str = "cpu") -> Tensor:
    """A tensor with a copy of the data: a number, nested lists, an array or another tensor.

    dtype: by default that of an array; float32 for Python's floats, int64 for its whole numbers. It is a
    constant or a leaf: no gradient passes to tensors in the data (`stack` and `concat` join those on the tape).
    Raises TypeError for what is not numbers, ValueError for lists of unequal lengths.
    """
    check_device("tensor", device)
    source = data.data if isinstance(data, Box) else data
    try:
        array = np.array(source)
    except ValueError as error:
        raise ValueError(f"tensor: data: expected nested lists of equal lengths ({error})") from error
    if dtype is None:
        dtype = array.dtype if _is_typed(source) or array.dtype.kind != "f" else "float32"
    if array.dtype.kind not in "fiub":
        raise TypeError(f"tensor: data: expected numbers, got {array.dtype} from {type(data).__name__}")
    return _leaf(np.ascontiguousarray(array, as_dtype(dtype)).reshape(array.shape), requires_grad)


def _is_typed(source: Any) -> bool:
    """Whether the data brings a dtype of its own: an array, or lists of arrays."""
    while isinstance(source, (list, tuple)) and source:
        source = source[0]
    return hasattr(source, "dtype") or hasattr(source, "__array__")


def zeros(*shape: Any, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """Zeros of a shape."""
    return _leaf(np.zeros(_shape(shape), as_dtype(dtype)), requires_grad)


def ones(*shape: Any, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """Ones of a shape."""
    return _leaf(np.ones(_shape(shape), as_dtype(dtype)), requires_grad)


def full(shape: Shape, fill_value: float, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """One number in a shape."""
    return _leaf(np.full(shape, fill_value, as_dtype(dtype)), requires_grad)


def zeros_like(x: Any) -> Tensor:
    """Zeros of the shape and dtype of x."""
    return Tensor(np.zeros(x.shape, x.dtype))


def ones_like(x: Any) -> Tensor:
    """Ones of the shape and dtype of x."""
    return Tensor(np.ones(x.shape, x.dtype))


def arange(start: float, end: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """start, start + step, ... up to but not including end; arange(n) counts from 0."""
    array = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    return Tensor(array.astype(as_dtype(dtype or ("float32" if array.dtype.kind == "f" else "int64"))))


def _floating(name: str, dtype: Any) -> np.dtype:
    found = as_dtype(dtype)
    if found.kind != "f":
        raise TypeError(f"{name}: dtype: expected float32 or float64, got {found}")
    return found


def randn(*shape: Any, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """Drawn from the normal distribution of mean 0 and variance 1."""
    return _leaf(generator().standard_normal(_shape(shape)).astype(_floating("randn", dtype)), requires_grad)


def rand(*shape: Any, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """Drawn evenly from [0, 1)."""
    return _leaf(np.asarray(generator().random(_shape(shape), _floating("rand", dtype).type)), requires_grad)


def randint(low: int, high: int, size: Shape) -> Tensor:
    """Whole numbers drawn evenly from low up to but not including high."""
    return Tensor(np.asarray(generator().integers(low, high, size)))


def _shape(shape: tuple) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
