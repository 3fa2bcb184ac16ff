"""Activations that are one line of primitives."""

from __future__ import annotations

from typing import Any

from ...arrays.coercion import operand
from ...autograd.primitives.elementwise import clip, exp, gt, sigmoid, where


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """Return x where x > 0, else negative_slope x, elementwise. Maas et al., Rectifier nonlinearities (2013)."""
    x = operand("leaky_relu: x", x)
    return where(gt(x, 0.0), x, x * negative_slope)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where x > 0, else alpha (e^x - 1), elementwise. Clevert et al., Exponential linear units (2016)."""
    x = operand("elu: x", x)
    return where(gt(x, 0.0), x, alpha * (exp(clip(x, max=0.0)) - 1.0))  # e^x must not overflow where it is not used


def silu(x: Any) -> Any:
    """Return x sigmoid(x), elementwise. Hendrycks and Gimpel, Gaussian error linear units (2016), section 2."""
    x = operand("silu: x", x)
    return x * sigmoid(x)
