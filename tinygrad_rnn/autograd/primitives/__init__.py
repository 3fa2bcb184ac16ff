"""The table of primitives, each with its forward and its VJPs side by side; see `autograd/primitive.py`."""

from . import (
    convolution,
    einsum,
    elementwise,
    index,
    likelihood,
    norm,
    order,
    pooling,
    products,
    reduce,
    sampling,
    shape,
)

__all__ = [
    "convolution",
    "einsum",
    "elementwise",
    "index",
    "likelihood",
    "norm",
    "order",
    "pooling",
    "products",
    "reduce",
    "sampling",
    "shape",
]
