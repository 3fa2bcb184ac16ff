"""Static arguments (sizes, dimensions, flags) converted to Python's own numbers and tuples at the call.

A node saves them for its backward, and the caller may change his own list or array before that. An integer may be given
as anything with `__index__`: a NumPy integer, or an array or tensor of one element.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import array_of


def as_int(name: str, value: Any, expected: str = "a whole number") -> int:
    """Return an integer as a Python int. Raise TypeError for anything else, booleans too.

    name: the argument's name, for errors. expected: how an error describes the argument.
    """
    if type(value) is int:
        return value
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None


def whole_number(name: str, value: Any, least: int) -> int:
    """Return an integer as a Python int. Raise TypeError for anything else, ValueError for one below `least`."""
    expected = f"a whole number from {least} up"
    found = as_int(name, value, expected)
    if found < least:
        raise ValueError(f"{name}: expected {expected}, got {found}")
    return found


def as_ints(name: str, values: Any, expected: str = "whole numbers") -> tuple[int, ...]:
    """Return one integer, a sequence of integers or an integer array as a tuple of ints. Raise TypeError otherwise."""
    if isinstance(values, (np.ndarray, Box)):
        values = array_of(name, values, any_dtype=True)
        if values.ndim > 1 or values.dtype.kind not in "iu":
            got = f"{values.dtype} of shape {values.shape}"
            raise TypeError(f"{name}: expected {expected}, got {got}")
        values = values.tolist()
    if not isinstance(values, Iterable):
        return (as_int(name, values, expected),)
    if isinstance(values, (str, bytes, dict)):
        raise TypeError(f"{name}: expected {expected}, got {values!r}")
    return tuple([n if type(n) is int else as_int(name, n, expected) for n in values])


def dim_or_axis(name: str, dim: Any, axis: Any, unset: Any = None) -> Any:
    """Return the dimensions given as `dim` or, in NumPy's word, as `axis`. Raise TypeError if both are given.

    unset: the default of `dim`, which stands for none given.
    """
    if axis is None:
        return dim
    if dim is not unset:
        raise TypeError(f"{name}: expected dim or axis, got both: dim = {dim!r} and axis = {axis!r}")
    return axis


def keepdim_flag(name: str, keepdim: bool, keepdims: bool | None) -> bool:
    """Return the flag given as `keepdim` or, in NumPy's word, as `keepdims`. Raise TypeError unless it is a bool."""
    return flag(f"{name}: keepdim", keepdim if keepdims is None else keepdims)


def flag(name: str, value: Any) -> bool:
    """Return a flag as a Python bool. Raise TypeError for anything else, numbers too."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {value!r}")
