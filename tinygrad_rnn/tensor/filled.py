"""Tensors with one number in all places: of any shape, and as methods of a tensor that gives dtype and device."""

from __future__ import annotations

from typing import Any

from ..arrays.box import Box, boxed
from ..arrays.device import device_of, empty, resolve_device, to_device
from ..arrays.error_state import isolate_error_state
from ..autograd.primitives.shape import sizes_of
from .conversion import as_dtype


def leaf(name: str, data: Any, device: Any, requires_grad: bool) -> Any:
    """Return a tensor of an array, moved to a device (None: where it is). name: of who asks, for errors."""
    where = resolve_device(name, device)
    out = boxed(data if where is None else to_device(data, where))
    out.requires_grad = requires_grad
    return out


def filled(name: str, shape: Any, value: float, dtype: Any, device: Any, requires_grad: bool) -> Any:
    """Return a tensor of a shape with one number in all places."""
    array = empty(sizes_of((shape,)), as_dtype(dtype), resolve_device(name, device) or "cpu")
    array.fill(value)
    return leaf(name, array, None, requires_grad)


def filled_like(name: str, x: Any, shape: Any, value: float, dtype: Any, device: Any, requires_grad: bool) -> Any:
    """Return a tensor of a shape with one number in all places, by default in the dtype and on the device of x."""
    dtype, device = x.dtype if dtype is None else dtype, device_of(x) if device is None else device
    return filled(name, shape, value, dtype, device, requires_grad)


class NewTensors(Box):
    """The methods of a tensor that make others of its dtype, on its device."""

    __slots__ = ()

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Return zeros of a shape, by default in this dtype and on this device."""
        return filled_like("new_zeros", self, sizes_of(size), 0, dtype, device, requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Return ones of a shape, by default in this dtype and on this device."""
        return filled_like("new_ones", self, sizes_of(size), 1, dtype, device, requires_grad)

    @isolate_error_state
    def new_full(
        self, size: Any, fill_value: float, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        """Return a tensor of a shape with one number in all places, by default in this dtype and on this device."""
        return filled_like("new_full", self, size, fill_value, dtype, device, requires_grad)
