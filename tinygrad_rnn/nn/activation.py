"""Modules without weights, for use in a Sequential: activations, Dropout, MaxPool2d, Flatten, Identity."""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.shape import flatten
from . import functional as F
from .module import Module


class Identity(Module):
    """y = x."""

    def forward(self, x: Any) -> Any:
        return x


class Tanh(Module):
    """y = tanh(x), element by element."""

    def forward(self, x: Any) -> Any:
        return F.tanh(x)


class Sigmoid(Module):
    """y = 1 / (1 + e^-x), element by element."""

    def forward(self, x: Any) -> Any:
        return F.sigmoid(x)


class ReLU(Module):
    """y = max(x, 0), element by element."""

    def forward(self, x: Any) -> Any:
        return F.relu(x)


class GELU(Module):
    """y = x Phi(x), element by element, Phi the normal distribution function; see `functional.gelu`.

    approximate: "none", or "tanh" for an approximation by tanh. Hendrycks and Gimpel, Gaussian error linear units
        (2016).
    """

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Dropout(Module):
    """In training y = x * mask / (1 - p), each element of mask 0 with probability p, else 1; in evaluation y = x.

    Raises ValueError for a p outside [0, 1]. See `functional.dropout` for the paper.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = F.probability("Dropout", p)

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """y is x with the dimensions from start_dim to end_dim (inclusive) merged into one; no number changes."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class MaxPool2d(Module):
    """The largest element of each window of an image; x [N, C, height, width] -> [N, C, height', width'].

    height' = (height + 2 padding - kernel height) // stride + 1, width' likewise. kernel_size, stride (default:
    kernel_size), padding: one number, or (height, width). See `functional.max_pool2d` for the errors.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Any) -> Any:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
