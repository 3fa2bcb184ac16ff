"""Static arguments, made plain at the call: a node keeps them for its backward, and the caller's may change meanwhile.

A whole number may be given as anything with `__index__`: NumPy's, an array or tensor of one element.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import array_of


def as_int(name: str, value: Any, expected: str = "a whole number") -> int:
    """A whole number as Python's; TypeError for what is none. name: of the argument, for errors."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None


def as_ints(name: str, values: Any, expected: str = "whole numbers") -> tuple[int, ...]:
    """Whole numbers, from one, from any sequence of them or from an array, as a tuple of Python's."""
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
    """The dimensions, given as `dim` or, in NumPy's word, as `axis`. unset: the dim that stands for none given."""
    if axis is None:
        return dim
    if dim is not unset:
        raise TypeError(f"{name}: expected dim or axis, got both: dim = {dim!r} and axis = {axis!r}")
    return axis


def keepdim_flag(name: str, keepdim: bool, keepdims: bool | None) -> bool:
    """Whether reduced dimensions stay: `keepdim` or, in NumPy's word, `keepdims`."""
    found = keepdim if keepdims is None else keepdims
    if found is True or found is False:
        return found
    if isinstance(found, np.bool_):
        return bool(found)
    raise TypeError(f"{name}: keepdim: expected True or False, got {found!r}")
