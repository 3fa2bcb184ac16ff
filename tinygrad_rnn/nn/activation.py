"""Modules without weights, for use in a Sequential: activations, Dropout, Flatten, Identity."""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.shape import flatten
from . import functional as F
from .functional.layers import probability
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


class LeakyReLU(Module):
    """y = x where x > 0, else negative_slope x, element by element; see `functional.leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01):
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """y = x where x > 0, else alpha (e^x - 1), element by element; see `functional.elu`."""

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SiLU(Module):
    """y = x / (1 + e^-x), element by element; see `functional.silu`."""

    def forward(self, x: Any) -> Any:
        return F.silu(x)


class Softplus(Module):
    """y = log(1 + e^x), element by element, without overflow."""

    def forward(self, x: Any) -> Any:
        return F.softplus(x)


class _AlongDim(Module):
    """Base of the modules that normalise along one dimension, by default the last."""

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """y_i = e^x_i / sum_j e^x_j along the dimension `dim`, by default the last.

    (PyTorch's default depends on the number of dimensions and is deprecated there: give `dim` in code for both.)
    """

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.dim)


class LogSoftmax(_AlongDim):
    """y_i = x_i - log(sum_j e^x_j) along the dimension `dim`, by default the last; see `Softmax`."""

    def forward(self, x: Any) -> Any:
        return F.log_softmax(x, self.dim)


class Dropout(Module):
    """In training y = x * mask / (1 - p), each element of mask 0 with probability p, else 1; in evaluation y = x.

    Raises ValueError for a p outside [0, 1]. See `functional.dropout` for the paper.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = probability("Dropout", p)

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
