"""The table of primitives, each with its forward and its VJPs side by side; see `autograd/primitive.py`."""

from . import (
    convolution,
    elementwise,
    index,
    likelihood,
    pooling,
    products,
    reduce,
    shape,
)

__all__ = ["convolution", "elementwise", "index", "likelihood", "pooling", "products", "reduce", "shape"]
