"""Limits on gradients, against the explosions that back-propagation through time is prone to."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ...device import numbers
from ...kernels import scaled, sum_of_squares
from ...tape import boxed
from ...tensor import Tensor


def _with_grad(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    found = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for i, p in enumerate(found):
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameters[{i}]: expected a tensor, got {type(p).__name__}")
    return [p for p in found if p.grad is not None]


def _norm(arrays: list[np.ndarray], order: float) -> float:
    """The norm of all numbers together; what is not finite comes out as inf or NaN."""
    if order == 2.0:  # the usual one, in the least time
        return math.sqrt(sum_of_squares(arrays))
    flat = [a.reshape(-1) for a in arrays if a.size]
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.array(numbers(*[np.linalg.norm(a, order) for a in flat]), np.float64)
        return float(np.linalg.norm(norms, order)) if flat else 0.0


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the gradients of the parameters so that their norm, taken as one long vector, is at most max_norm.

    g <- g min(1, max_norm / (norm + 1e-6)). norm_type: the p of the norm, or inf for the largest magnitude.
    Returns the norm before, a scalar, on the CPU. A norm that is not finite makes every gradient 0 or NaN, or with
    error_if_nonfinite raises RuntimeError and changes nothing.
    Pascanu et al., On the difficulty of training recurrent neural networks (2013), algorithm 1.
    """
    if not (isinstance(max_norm, (int, float, np.number)) and max_norm >= 0):
        raise ValueError(f"clip_grad_norm_: max_norm: expected a number from 0 up, got {max_norm!r}")
    order = float(norm_type)
    if not order > 0:
        raise ValueError(f"clip_grad_norm_: norm_type: expected a number above 0 or inf, got {norm_type!r}")
    clipped = _with_grad("clip_grad_norm_", parameters)
    gradients = [p.grad.array for p in clipped]  # type: ignore[union-attr]
    total = _norm(gradients, order)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(f"clip_grad_norm_: expected gradients with a finite norm, got {total}")
    scale = max_norm / (total + 1e-6)
    if not scale >= 1.0:
        for p, g in zip(clipped, scaled(gradients, scale)):
            p.grad = boxed(g)
    return Tensor(np.asarray(total, clipped[0].dtype if clipped else np.float32))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients to [-clip_value, clip_value]."""
    if not (isinstance(clip_value, (int, float, np.number)) and clip_value >= 0):
        raise ValueError(f"clip_grad_value_: clip_value: expected a number from 0 up, got {clip_value!r}")
    for p in _with_grad("clip_grad_value_", parameters):
        p.grad = Tensor(np.clip(p.grad.array, -clip_value, clip_value))  # type: ignore[union-attr]
