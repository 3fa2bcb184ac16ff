"""The table of primitives, each with its forward and its VJPs side by side; see `autograd/primitive.py`."""

from . import (
    einsum,
    elementwise,
    index,
    likelihood,
    norm,
    order,
    products,
    reduce,
    sampling,
    shape,
    windows,
)

__all__ = [
    "einsum",
    "elementwise",
    "index",
    "likelihood",
    "norm",
    "order",
    "products",
    "reduce",
    "sampling",
    "shape",
    "windows",
]
