"""Primitives as Python's operators: reflected, in place, on booleans only, and with NumPy's array on the left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..autograd import views
from ..autograd.grad_modes import no_grad, recording
from ..autograd.primitives import elementwise as el
from ..autograd.primitives.products import matmul


def reflected(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the operator with its arguments exchanged: `2 - x`."""
    return lambda self, other: operation(other, self)


def in_place(operation: Callable[[Any, Any], Any], sign: str) -> Callable[[Any, Any], Any]:
    """Return `x += y` for tensors: a new array for x, or on the tape a new x."""

    def assign(self: Any, other: Any) -> Any:
        recorded = isinstance(other, Box) and other.node is not None
        if recording() and (not self.is_leaf or recorded and self.node is None):
            return operation(self, other)  # on the tape `y += x` means `y = y + x`: nothing is overwritten
        with no_grad():
            changed = operation(boxed(views.current(self)), other)
        self._overwrite(sign, changed.array)
        return self

    return assign


def boolean(operation: Callable[..., Any], sign: str) -> Callable[..., Any]:
    """Return an operator for booleans only, because its sign means bits of numbers elsewhere."""

    def checked(*values: Any) -> Any:
        for value in values:
            dtype = getattr(value, "dtype", np.dtype(type(value)))
            if dtype != np.bool_:
                raise TypeError(f"{sign}: expected booleans, got {dtype}: compare first, or use {operation.__name__}")
        return operation(*values)

    return checked


_BY_UFUNC: dict[str, Callable[[Any, Any], Any]] = {
    "add": el.add, "subtract": el.sub, "multiply": el.mul, "divide": el.div, "power": el.pow, "matmul": matmul,
    "floor_divide": el.floor_div, "remainder": el.remainder, "divmod": el.divided,
    "equal": el.eq, "not_equal": el.ne, "less": el.lt, "less_equal": el.le, "greater": el.gt, "greater_equal": el.ge,
    "bitwise_and": boolean(el.logical_and, "&"), "bitwise_or": boolean(el.logical_or, "|"),
}  # fmt: skip


def _with_array(tensor: Any, ufunc: Any, method: str, *inputs: Any, out: tuple = (), **others: Any) -> Any:
    """Compute `array * tensor` and `array -= tensor`, which NumPy asks for by its ufunc."""
    operation = _BY_UFUNC.get(ufunc.__name__) if method == "__call__" and not others else None
    if operation is None:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise TypeError(
            f"numpy.{name}: expected arrays, got a tensor: use a function of tinygrad_rnn, or the tensor's .numpy()"
        )
    result = operation(*inputs)
    if not out:
        return result
    sign = f"array {ufunc.__name__}= tensor"
    if len(out) != 1 or isinstance(out[0], Box):
        raise TypeError(f"{sign}: out: expected one array, got {', '.join(type(o).__name__ for o in out)}")
    if result.node is not None:
        raise RuntimeError(f"{sign}: expected a tensor without requires_grad, as an array has no gradient: detach() it")
    if result.shape != out[0].shape or result.dtype != out[0].dtype:
        expected, got = f"{out[0].dtype} of shape {out[0].shape}", f"{result.dtype} of shape {result.shape}"
        raise ValueError(f"{sign}: expected a result as the array is, {expected}, got {got}")
    if not out[0].flags.writeable:  # as a layer's weights that it keeps packed: the name gets a new array
        return result.array
    out[0][...] = result.array
    return out[0]


class BesideArrays:
    """`__array_ufunc__` of tensors: NumPy, which asks the class, is given a method; CuPy, which asks the tensor, is
    given None, by which it leaves `array * tensor` to the tensor."""

    def __get__(self, tensor: Any, kind: type) -> Any:
        return _with_array if tensor is None else None
