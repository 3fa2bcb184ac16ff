"""Primitives as Python's operators: reflected, in place, and on booleans only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import tape
from .tape import Box, mode


def reflected(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operator with its arguments exchanged: `2 - x`."""
    return lambda self, other: operation(other, self)


def in_place(operation: Callable[[Any, Any], Any], sign: str) -> Callable[[Any, Any], Any]:
    """`x += y` on tensors: a new array for x, or on the tape a new x."""

    def assign(self: Any, other: Any) -> Any:
        recorded = isinstance(other, Box) and other.node is not None
        if mode.recording and (not self.is_leaf or recorded and self.node is None):
            return operation(self, other)  # on the tape `y += x` means `y = y + x`: nothing is overwritten
        with tape.no_grad():
            changed = operation(self.detach(), other)
        self._overwrite(sign, changed.data)
        return self

    return assign


def boolean(operation: Callable[..., Any], sign: str) -> Callable[..., Any]:
    """An operator of booleans only, as its sign means bits of numbers elsewhere."""

    def checked(*values: Any) -> Any:
        for value in values:
            dtype = getattr(value, "dtype", np.dtype(type(value)))
            if dtype != np.bool_:
                raise TypeError(f"{sign}: expected booleans, got {dtype}: compare first, or use {operation.__name__}")
        return operation(*values)

    return checked
