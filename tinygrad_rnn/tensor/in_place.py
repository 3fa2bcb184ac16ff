"""In-place writes to tensors, and the array that they hold: `x[i] = v`, `x += v`, `x.copy_(v)`, `x.data = v`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.box import Box
from ..arrays.coercion import array_of
from ..arrays.device import array_like, device_of
from ..arrays.error_state import isolate_error_state
from ..autograd import views
from ..autograd.grad_modes import recording
from ..autograd.primitives import elementwise as el
from ..autograd.primitives import index as ix
from .operators import in_place


def _check_constant(name: str, value: Any) -> None:
    """Raise an error for a value that an in-place write would lose the gradient of, or take for NaN."""
    if isinstance(value, Box) and value.node is not None and recording():
        raise RuntimeError(f"{name}: expected a value without requires_grad: use where or concat")
    if value is None:
        raise TypeError(f"{name}: expected numbers, got None")


def _described(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}" + (f" on {device_of(array)}" if device_of(array) != "cpu" else "")


class InPlace(Box):
    """The methods of a tensor that write to it. A write gives a new array to it and to its owners (`views.py`)."""

    __slots__ = ()

    @property
    def data(self) -> Any:
        """The array itself, NumPy's or CuPy's. The tape does not see what is written into it.

        Setting it takes the array of a tensor, or an array, as it is: of this shape, dtype and device.
        """
        array = self.array
        if type(array) is np.ndarray and not array.flags.writeable and array.flags.owndata:
            # A layer keeps it packed, and would not see what is written into it: the tensor gets one of its own.
            self.array = array = array.copy()
        return array

    @data.setter
    def data(self, value: Any) -> None:
        array = self.array
        if value is array:
            return
        if isinstance(value, (bool, int, float, list, tuple)):
            raise TypeError(f"data: expected a tensor or an array, {_described(array)}, got {type(value).__name__}")
        new = array_of("data", value)
        if new.shape != array.shape or new.dtype != array.dtype or type(new) is not type(array):
            raise ValueError(f"data: expected a tensor or an array, {_described(array)}, got {_described(new)}")
        self.array = new
        self.origin = None

    def _check_writable(self, name: str) -> None:
        if self.node is not None and (recording() or self.node.definition is not None):
            got = f"the result of {self.node.name!r}" if self.node.definition else "a leaf with requires_grad"
            raise RuntimeError(
                f"{name}: in-place write on a recorded tensor: expected a constant, or a leaf within no_grad(), got "
                f"{got} of shape {self.array.shape}: write it as a new tensor (where, masked_fill, concat)"
            )

    def _overwrite(self, name: str, array: Any) -> None:
        self._check_writable(name)
        own = self.array
        if array.shape != own.shape or array.dtype != own.dtype:
            raise ValueError(
                f"{name}: expected {own.dtype} of shape {own.shape}, got {array.dtype} of shape {array.shape}"
            )
        views.overwrite(name, self, array)

    @isolate_error_state
    def __setitem__(self, index: Any, value: Any) -> None:
        _check_constant("x[index] = value", value)
        self._overwrite("x[index] = value", ix.index_put(views.current(self), index, value))

    @isolate_error_state
    def copy_(self, other: Any) -> Any:
        """Take over the numbers of another tensor or array that broadcasts to this shape, converted to this dtype."""
        _check_constant("copy_", other)
        source = array_like(other, self, "copy_: other", any_dtype=True)
        try:
            whole = np.broadcast_to(source, self.array.shape)
        except ValueError:
            got = source.shape
            raise ValueError(f"copy_: expected what broadcasts to shape {self.array.shape}, got shape {got}") from None
        self._overwrite("copy_", whole.astype(self.array.dtype))
        return self

    @isolate_error_state
    def fill_(self, value: float) -> Any:
        """Set every element to a number."""
        _check_constant("fill_", value)
        number = array_of("fill_: value", value, floats=np.float64)
        if number.size != 1:
            raise ValueError(f"fill_: value: expected one number, got shape {number.shape}")
        self._overwrite("fill_", np.full_like(self.array, number.item()))
        return self

    def zero_(self) -> Any:
        """Set every element to 0."""
        return self.fill_(0)

    __iadd__ = in_place(el.add, "+=")
    __isub__ = in_place(el.sub, "-=")
    __imul__ = in_place(el.mul, "*=")
    __itruediv__ = in_place(el.div, "/=")
    __ifloordiv__ = in_place(el.floor_div, "//=")
    __imod__ = in_place(el.remainder, "%=")
    __ipow__ = in_place(el.pow, "**=")
