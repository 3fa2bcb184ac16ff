"""Gradient clipping: limits on the gradients, which back-propagation through time can make very large."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from ...arrays.box import boxed
from ...arrays.device import numbers
from ...arrays.error_state import isolate_error_state
from ...kernels import scaled, sum_of_squares
from ...tensor import Tensor


def _with_grad(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters that have a gradient. Raise TypeError for one that is not a tensor."""
    found = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not found and isinstance(parameters, Iterator):
        text = f"{name}: parameters: expected some, got an iterator that is used up: nothing is clipped; pass a new one"
        warnings.warn(text, UserWarning, stacklevel=4)
    for i, p in enumerate(found):
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameters[{i}]: expected a tensor, got {type(p).__name__}")
    return [p for p in found if p.grad is not None]


def _norm(arrays: list[np.ndarray], order: float) -> tuple[float, float]:
    """Return the norm of all numbers as two factors, because their product may be beyond the largest float.

    A gradient that is not finite makes the second factor inf or NaN.
    """
    if order == 2.0:  # the usual norm, in one pass; valid if no square overflows or underflows
        total = math.sqrt(sum_of_squares(arrays))
        if all(_SQUARED[a.dtype.itemsize] < total for a in arrays) and math.isfinite(total):
            return 1.0, total
    flat = [a.reshape(-1) for a in arrays if a.size]
    with np.errstate(all="ignore"):
        largest = max(map(float, numbers(*[np.abs(a).max() for a in flat])), key=_nan_last, default=0.0)
        if largest == 0.0 or not math.isfinite(largest):
            return 1.0, largest
        parts = [np.linalg.norm(a.astype(np.float64) / largest, order) for a in flat]
        return largest, float(np.linalg.norm(np.array(numbers(*parts), np.float64), order))


_SQUARED = {4: 1e-15, 8: 1e-140}
"""For each size of float in bytes, a norm so large that underflown squares do not change it."""


def _nan_last(number: float) -> float:
    """Return a sort key that makes NaN the largest."""
    return math.inf if math.isnan(number) else number


@isolate_error_state
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the gradients of the parameters so that the norm of all of them, as one long vector, is at most max_norm.

    g <- g min(1, max_norm / (norm + 1e-6)). parameters: tensors of any shape; one without a gradient is skipped.
    norm_type: the p of the norm, or inf for the largest magnitude. Returns the norm before clipping, a scalar on the
    CPU. A gradient that is not finite makes every gradient 0 or NaN, or with error_if_nonfinite raises RuntimeError
    and changes nothing. Raises ValueError for a negative max_norm; warns of a used-up iterator of parameters.
    Pascanu et al., On the difficulty of training recurrent neural networks (2013), algorithm 1.
    """
    if not (isinstance(max_norm, (int, float, np.number)) and max_norm >= 0):
        raise ValueError(f"clip_grad_norm_: max_norm: expected a number from 0 up, got {max_norm!r}")
    order = float(norm_type)
    if not order > 0:
        raise ValueError(f"clip_grad_norm_: norm_type: expected a number above 0 or inf, got {norm_type!r}")
    clipped = _with_grad("clip_grad_norm_", parameters)
    gradients = [p.grad.array for p in clipped]  # type: ignore[union-attr]
    largest, share = _norm(gradients, order)
    total = largest * share
    if error_if_nonfinite and not math.isfinite(share):
        raise RuntimeError(f"clip_grad_norm_: expected gradients with a finite norm, got {total}")
    scale = max_norm / largest / (share + 1e-6 / largest)
    if not scale >= 1.0:
        # A factor below the smallest normal number of float32 would lose digits: apply its square root twice.
        for factor in (scale,) if not 0.0 < scale < 1e-37 else (math.sqrt(scale), math.sqrt(scale)):
            gradients = scaled(gradients, factor)
        for p, g in zip(clipped, gradients):
            p.grad = boxed(g)
    with np.errstate(over="ignore"):  # a norm beyond the largest float of the dtype becomes inf
        return Tensor(np.float64(total).astype(clipped[0].dtype if clipped else np.float32))


@isolate_error_state
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients: g <- min(max(g, -clip_value), clip_value).

    parameters: tensors of any shape; one without a gradient is skipped. Raises ValueError for a negative clip_value.
    """
    if not (isinstance(clip_value, (int, float, np.number)) and clip_value >= 0):
        raise ValueError(f"clip_grad_value_: clip_value: expected a number from 0 up, got {clip_value!r}")
    for p in _with_grad("clip_grad_value_", parameters):
        p.grad = Tensor(np.clip(p.grad.array, -clip_value, clip_value))  # type: ignore[union-attr]
