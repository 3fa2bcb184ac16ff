"""Box: an array, and the node of the tape that made it. `Tensor` is a box with methods.

It stands below the tape because a function that takes tensors must look into them, also where nothing is recorded.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


class Box:
    """A value the tape can follow: its `array`, and the `node` that made it (None for a constant).

    frozen: of a leaf that is a constant for now the node that it had, with its gradient and hooks.
    origin: of a view of another box how it came from that one; see `views.py`. Both are unset where there is none.
    """

    __slots__ = ("array", "node", "frozen", "origin", "__weakref__")
    frozen: Any
    origin: Any
    result_type: type[Box]  # what results and gradients are made: `Tensor`, once it is defined

    def __init__(self, array: Any, node: Any = None):
        self.array = array
        self.node = node

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether the tape follows this value."""
        return self.node is not None


Box.result_type = Box
_new = object.__new__


def boxed(array: Any, node: Any = None) -> Any:
    """Return a box as the tape makes it, around a value that is known to be an array."""
    box = _new(Box.result_type)
    box.array = array
    box.node = node
    return box


def solely_owned(box: Box) -> bool:
    """Return whether only this box holds its array, so that nobody else would see its numbers change.

    References are counted: one of the box, one of the argument here. A view of the array holds a reference, and so does
    a graph that saved it. An array that cannot be counted so is read-only.
    """
    if sys.getrefcount(box.array) != 2:
        return False
    flags = getattr(box.array, "flags", None)
    return flags is not None and flags.owndata and getattr(flags, "writeable", True) and flags.c_contiguous
