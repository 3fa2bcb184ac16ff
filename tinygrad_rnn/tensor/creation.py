"""Making tensors: from data, filled, or at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import array_of
from ..arrays.device import from_dlpack as _from_dlpack
from ..arrays.device import to_numpy
from ..arrays.error_state import isolate_error_state
from ..arrays.random import generator
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitives.shape import sizes_of
from ..autograd.primitives.static import as_int
from . import Tensor
from .conversion import as_dtype, as_float
from .filled import filled, filled_like, leaf

Shape = int | Sequence[int]


@isolate_error_state
def tensor(data: Any, requires_grad: bool = False, dtype: Any = None, device: Any = None) -> Tensor:
    """Return a tensor with a copy of the data: a number, nested lists, any library's array or another tensor.

    dtype: by default that of an array; float32 for Python's floats, int64 for its whole numbers. device: "cpu",
    "cuda" or "cuda:N"; by default where an array is, otherwise the CPU. It is a constant or a leaf: no gradient
    passes to tensors in the data (`stack` and `concat` join those on the tape).
    Raises TypeError for what is not numbers, ValueError for lists of unequal lengths.
    """
    asked = None if dtype is None else as_dtype(dtype)
    array = array_of("tensor: data", _joined(data), "float32" if asked is None else "float64", asked is not None)
    made = np.array(array, asked or array.dtype, order="C", like=array)
    return leaf("tensor", made, device, requires_grad)


def _joined(data: Any) -> Any:
    """Return nested lists with tensors in them as lists of arrays, any other value as it is."""
    if isinstance(data, (list, tuple)) and any(isinstance(part, (list, tuple, Box)) for part in data):
        return [to_numpy(part) if isinstance(part, Box) else _joined(part) for part in data]
    return data


def as_tensor(data: Any, name: str = "data") -> Tensor:
    """Return a tensor itself, any other value as a constant on its device. An array is not copied.

    name: of the argument, for errors.
    """
    return data if isinstance(data, Tensor) else boxed(array_of(name, data))


def own_tensor(data: Any, name: str = "data") -> Tensor:
    """Do as `as_tensor`, but copy an array while operations are recorded: the caller may write into it later."""
    if isinstance(data, Tensor):
        return data
    found = array_of(name, data)
    return boxed(found.copy() if is_grad_enabled() else found)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """Return a constant that shares the memory of another library's array, on the CPU or on a GPU, without a copy.

    ext_tensor: with `__dlpack__` and `__dlpack_device__`, as arrays and tensors of NumPy, PyTorch, CuPy and JAX have
    them, or with `__cuda_array_interface__`. What is written into that array later is seen here; in-place writes here
    are not seen there, as they give a tensor a new array. Raises TypeError for a dtype that tensors do not have.
    """
    array = _from_dlpack(ext_tensor)
    as_dtype(array.dtype)
    return boxed(array)


def zeros(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return zeros of a shape."""
    return filled("zeros", sizes_of(shape), 0, dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return ones of a shape."""
    return filled("ones", sizes_of(shape), 1, dtype, device, requires_grad)


@isolate_error_state
def full(
    shape: Shape, fill_value: float, dtype: Any = "float32", requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Return a tensor of a shape with one number in all places."""
    return filled("full", shape, fill_value, dtype, device, requires_grad)


def zeros_like(x: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return zeros of the shape of x, by default in its dtype and on its device."""
    return full_like(x, 0, dtype, requires_grad, device)


def ones_like(x: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return ones of the shape of x, by default in its dtype and on its device."""
    return full_like(x, 1, dtype, requires_grad, device)


@isolate_error_state
def full_like(x: Any, fill_value: float, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return a tensor of the shape of x with one number in all places, by default in its dtype and on its device."""
    x = as_tensor(x, "full_like: x")
    return filled_like("full_like", x, x.shape, fill_value, dtype, device, requires_grad)


def eye(
    n: int, m: int | None = None, dtype: Any = "float32", requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Return the matrix [n, m] with ones on the diagonal and zeros elsewhere. m: n by default."""
    n = as_int("eye: n", n)
    rows, columns = n, n if m is None else as_int("eye: m", m)
    if rows < 0 or columns < 0:
        raise ValueError(f"eye: expected sizes from 0 up, got {rows} and {columns}")
    return leaf("eye", np.eye(rows, columns, dtype=as_dtype(dtype)), device, requires_grad)


@isolate_error_state
def arange(start: float, end: float | None = None, step: float = 1, dtype: Any = None, device: Any = None) -> Tensor:
    """Return start, start + step, ... up to but not including end. arange(n) counts from 0."""
    if step == 0:
        raise ValueError("arange: step: expected a number other than 0, got 0")
    array = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    found = as_dtype(dtype or ("float32" if array.dtype.kind == "f" else "int64"))
    return leaf("arange", array.astype(found), device, False)


# Random numbers are all of the one stream, which is the CPU's: a seed gives the same ones on every device.


@isolate_error_state
def randn(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return numbers drawn from the normal distribution of mean 0 and variance 1."""
    drawn = generator().standard_normal(sizes_of(shape))
    return leaf("randn", np.asarray(drawn, as_float("randn: dtype", dtype)), device, requires_grad)


def rand(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return numbers drawn evenly from [0, 1)."""
    drawn = generator().random(sizes_of(shape), as_float("rand: dtype", dtype).type)
    return leaf("rand", np.asarray(drawn), device, requires_grad)


def randint(low: int, high: int, size: Shape, device: Any = None) -> Tensor:
    """Return whole numbers drawn evenly from low up to but not including high."""
    return leaf("randint", np.asarray(generator().integers(low, high, size)), device, False)
