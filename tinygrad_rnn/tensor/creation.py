"""Making tensors: from data, filled, or at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import array_of
from ..arrays.device import (
    device_of,
    empty,
    resolve_device,
    to_device,
    to_numpy,
)
from ..arrays.device import from_dlpack as _from_dlpack
from ..arrays.error_state import isolate_error_state
from ..arrays.random import generator
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitives.shape import sizes_of
from . import Tensor
from .conversion import as_dtype, as_float

Shape = int | Sequence[int]


def _leaf(name: str, data: Any, device: Any, requires_grad: bool) -> Tensor:
    where = resolve_device(name, device)
    out = boxed(data if where is None else to_device(data, where))
    out.requires_grad = requires_grad
    return out


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
    return _leaf("tensor", made, device, requires_grad)


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


def _filled(name: str, shape: Any, value: float, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    array = empty(sizes_of((shape,)), as_dtype(dtype), resolve_device(name, device) or "cpu")
    array.fill(value)
    return _leaf(name, array, None, requires_grad)


def zeros(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return zeros of a shape."""
    return _filled("zeros", sizes_of(shape), 0, dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return ones of a shape."""
    return _filled("ones", sizes_of(shape), 1, dtype, device, requires_grad)


@isolate_error_state
def full(
    shape: Shape, fill_value: float, dtype: Any = "float32", requires_grad: bool = False, device: Any = None
) -> Tensor:
    """Return a tensor of a shape with one number in all places."""
    return _filled("full", shape, fill_value, dtype, device, requires_grad)


def zeros_like(x: Any) -> Tensor:
    """Return zeros of the shape, dtype and device of x."""
    x = as_tensor(x, "zeros_like: x")
    return zeros(x.shape, dtype=x.dtype, device=device_of(x))


def ones_like(x: Any) -> Tensor:
    """Return ones of the shape, dtype and device of x."""
    x = as_tensor(x, "ones_like: x")
    return ones(x.shape, dtype=x.dtype, device=device_of(x))


@isolate_error_state
def arange(start: float, end: float | None = None, step: float = 1, dtype: Any = None, device: Any = None) -> Tensor:
    """Return start, start + step, ... up to but not including end. arange(n) counts from 0."""
    if step == 0:
        raise ValueError("arange: step: expected a number other than 0, got 0")
    array = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    found = as_dtype(dtype or ("float32" if array.dtype.kind == "f" else "int64"))
    return _leaf("arange", array.astype(found), device, False)


# Random numbers are all of the one stream, which is the CPU's: a seed gives the same ones on every device.


@isolate_error_state
def randn(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return numbers drawn from the normal distribution of mean 0 and variance 1."""
    drawn = generator().standard_normal(sizes_of(shape))
    return _leaf("randn", np.asarray(drawn, as_float("randn: dtype", dtype)), device, requires_grad)


def rand(*shape: Any, dtype: Any = "float32", requires_grad: bool = False, device: Any = None) -> Tensor:
    """Return numbers drawn evenly from [0, 1)."""
    drawn = generator().random(sizes_of(shape), as_float("rand: dtype", dtype).type)
    return _leaf("rand", np.asarray(drawn), device, requires_grad)


def randint(low: int, high: int, size: Shape, device: Any = None) -> Tensor:
    """Return whole numbers drawn evenly from low up to but not including high."""
    return _leaf("randint", np.asarray(generator().integers(low, high, size)), device, False)
