"""Dtypes by name, and what `.to(...)` of tensors, modules and optimisers is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.box import Box
from ..arrays.coercion import DTYPES, as_dtype
from ..arrays.device import (
    device_of,
    is_name,
    resolve_device,
    to_device,
)

__all__ = ["DTYPES", "as_dtype", "as_float", "convert", "dtype_and_device"]


def as_float(name: str, dtype: Any) -> np.dtype:
    """Return a floating dtype. name: of the argument."""
    found = as_dtype(dtype)
    if found.kind != "f":
        raise TypeError(f"{name}: expected float32 or float64, got {found}")
    return found


def dtype_and_device(targets: tuple, dtype: Any, device: Any) -> tuple[np.dtype | None, str | None]:
    """Return the dtype and the device that `to(*targets, dtype=..., device=...)` asks for; None for no change.

    A target is a dtype, a device, or a tensor whose dtype and device are meant.
    """
    for target in targets:
        if isinstance(target, Box):
            dtype, device = target.array.dtype, device_of(target)
        elif is_name(target):
            device = target
        else:
            dtype = target
    return None if dtype is None else as_dtype(dtype), resolve_device("to", device)


def convert(leaf: Any, dtype: np.dtype | None, device: str | None) -> None:
    """Give a leaf and its gradient another dtype, where they are floating, and another device; None: as it is."""

    def new(array: Any) -> Any:
        array = array if dtype is None or array.dtype.kind != "f" else array.astype(dtype, copy=False)
        return array if device is None else to_device(array, device)

    grad, leaf.array = leaf.grad, new(leaf.array)
    node = leaf.node or getattr(leaf, "frozen", None)
    if node is not None:
        node.dtype = leaf.array.dtype
    leaf.grad = None if grad is None else Box.result_type(new(grad.array))
