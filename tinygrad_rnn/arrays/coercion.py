"""The conversion of values to arrays, one for every argument of every function that expects a tensor.

It takes tensors, arrays, numbers, nested lists of numbers, and any other library's array (PyTorch's, pandas', a
`memoryview`, ...) in a dtype that tensors have. It converts other byte orders to this machine's. It refuses, with an
error that names the argument, each value that would lose something: a list of tensors its gradient, a masked array its
mask, another dtype its digits.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

import numpy as np

from .box import Box, boxed
from .cuda import cupy, on_gpu

DTYPES = tuple(np.dtype(d) for d in ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"))
KNOWN = frozenset(DTYPES)
_F32, _F64 = DTYPES[:2]
_ndarray = np.ndarray


def is_plain(value: Any) -> bool:
    """Return whether a value is a NumPy array of a dtype that tensors have, or a scalar of NumPy's."""
    if type(value) is _ndarray:
        dtype = value.dtype
        return dtype is _F32 or dtype is _F64 or dtype in KNOWN
    return isinstance(value, np.generic) and value.dtype.kind in "fiub"


def operand(name: str, value: Any) -> Any:
    """Return an argument of a function of tensors: a tensor or an array as it is, any other value as a constant.

    name: of the function and the argument, for errors. Bare arrays are what a backward computes on.
    """
    if is_plain(value) or isinstance(value, Box) or hasattr(type(value), "__tape_primitive__"):
        return value
    array = array_of(name, value)
    return array if array is value or type(value) is _ndarray or on_gpu(value) else boxed(array)


def array_of(name: str, value: Any, floats: Any = _F32, any_dtype: bool = False, expected: str = "numbers") -> Any:
    """Return any value that a tensor can be made of as an array on its device. An array is not copied.

    name: of the argument, for errors. floats: the dtype of Python's floats.
    any_dtype: take real numbers of every dtype, as an index or what is converted afterwards.
    expected: what to say of the argument where it is no number.
    Raises TypeError for what is not taken, ValueError for lists of unequal lengths.
    """
    if isinstance(value, Box):
        return value.array
    array = value if type(value) is _ndarray else _converted(name, value, floats)
    if array.dtype in KNOWN:
        return array
    return _native(name, value, array, any_dtype, expected)


def as_dtype(dtype: Any) -> np.dtype:
    """Return a dtype from its name, its type or itself. Raise TypeError if tensors do not have it."""
    try:
        if dtype is not None:  # which NumPy takes for float64
            return DTYPES[DTYPES.index(np.dtype(dtype))]
    except (TypeError, ValueError):
        pass
    raise TypeError(f"dtype: expected one of {', '.join(map(str, DTYPES))}, got {dtype!r}")


def brings_dtype(value: Any) -> bool:
    """Return whether a value, or the first one in nested lists, has a dtype. Python's numbers have none."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return not isinstance(value, (bool, int, float, list, tuple)) or isinstance(value, np.generic)


def constant(value: Any) -> Any:
    """Return a value without the tape of another library, which PyTorch's parameters have, for example."""
    on_a_tape = getattr(value, "requires_grad", False) is True and not isinstance(value, Box)
    return value.detach() if on_a_tape and hasattr(value, "detach") else value


def check_parts(name: str, value: Any) -> None:
    """Raise TypeError for nested lists that hold a value which would lose something as a part of an array."""
    masked = sys.modules.get("numpy.ma")  # imported if there is a masked array; here it would cost time, and a lock
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{name}: expected numbers without gaps, got a {type(value).__name__}: "
            "give its gaps a value with .filled(value)"
        )
    if isinstance(value, Collection) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        if hasattr(value, "__array__") or hasattr(value, "__cuda_array_interface__"):
            return
        if any(isinstance(part, Box) for part in value):
            raise TypeError(f"{name}: expected a tensor, got a {type(value).__name__} of tensors: use stack")
        for part in value:
            if not isinstance(part, (int, float, str)):
                check_parts(name, part)


def _converted(name: str, value: Any, floats: Any) -> Any:
    """Return a value that is no NumPy array as an array."""
    check_parts(name, value)
    if on_gpu(value):
        return value
    value = constant(value)
    if hasattr(value, "__cuda_array_interface__"):
        return cupy().asarray(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected nested lists of equal lengths ({error})") from error
    except Exception as error:  # whatever the library of a foreign array comes up with
        got = type(value).__name__
        raise TypeError(f"{name}: expected an array, got a {got} that gives none ({error})") from error
    return array.astype(floats) if array.dtype.kind == "f" and not brings_dtype(value) else array


def _native(name: str, value: Any, array: Any, any_dtype: bool, expected: str) -> Any:
    """Return an array in this machine's byte order. Raise TypeError for a dtype that tensors do not have."""
    dtype = array.dtype
    if dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected {expected}, got {dtype} from {type(value).__name__}")
    native = dtype.newbyteorder("=")
    if any_dtype or native in KNOWN:
        return array if native == dtype else array.astype(native)
    raise TypeError(
        f"{name}: dtype: expected one of {', '.join(map(str, DTYPES))}, got {dtype!r}: "
        "convert it first, as with .astype('float32')"
    )
