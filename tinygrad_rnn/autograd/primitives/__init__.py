"""The table of primitives, each with its forward and its VJPs side by side; see `autograd/primitive.py`."""

from . import (
    elementwise,
    index,
    likelihood,
    products,
    reduce,
    shape,
    windows,
)

__all__ = ["elementwise", "index", "likelihood", "products", "reduce", "shape", "windows"]
