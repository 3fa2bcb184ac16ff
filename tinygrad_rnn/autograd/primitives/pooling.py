"""Pooling: the largest number of each window of an image, or the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import operand
from ...arrays.device import array_like
from ...kernels import dense
from ..primitive import primitive
from .static import as_int
from .windows import Pair, pair, windows_over

# `found`: the result, where it is known already, or None.
_pick: Callable[..., Any] = primitive(
    "pick",
    lambda x, which, windows, shape, found: dense.pick(x, which, windows) if found is None else found,
    lambda g, which, windows, shape: _place(g, which, windows, shape),
)
_place: Callable[..., Any] = primitive(
    "place",
    lambda g, which, windows, shape: dense.place(g, which, windows, shape),
    lambda h, which, windows, shape: _pick(h, which, windows, shape, None),
)
_totals: Callable[..., Any] = primitive(
    "totals",
    lambda x, windows, shape: dense.totals(x, windows),
    lambda g, windows, shape: _spread(g, windows, shape),
)
_spread: Callable[..., Any] = primitive(
    "spread",
    lambda g, windows, shape: dense.spread(g, windows, shape),
    lambda h, windows, shape: _totals(h, windows, shape),
)


def _pooling_windows(
    name: str, x: Any, kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair
) -> dense.Windows:
    kernel = pair(f"{name}: kernel_size", kernel_size, 1)
    step = kernel if stride is None else pair(f"{name}: stride", stride, 1)
    border = pair(f"{name}: padding", padding, 0)
    windows = windows_over(name, x, kernel, step, border, border)
    if any(2 * p > k for p, k in zip(border, kernel)):
        raise ValueError(f"{name}: padding: expected at most half of kernel_size {kernel}, got {border}")
    return windows


def max_pool2d(x: Any, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Any:
    """Return the largest element of each window; the gradient goes to the first of equal ones.

    x [N, C, height, width] -> [N, C, ...] with the sizes of `conv2d`. stride: the kernel's size by default.
    padding: the border of -inf, at most half of the kernel. A window with NaN gives NaN. Raise ValueError for sizes
    that do not fit.
    """
    x = operand("max_pool2d: x", x)
    windows = _pooling_windows("max_pool2d", x, kernel_size, stride, padding)
    found, which = dense.largest(x.array if isinstance(x, Box) else x, windows)
    return _pick(x, which, windows, x.shape, found)


def avg_pool2d(
    x: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    *,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of each window.

    x [N, C, height, width] -> [N, C, ...] with the sizes of `conv2d`. stride: the kernel's size by default.
    padding: the border of 0, at most half of the kernel. A window's sum is divided by its size; with
    count_include_pad=False by the number of its elements without the border; or else by divisor_override.
    Raise ValueError for sizes that do not fit.
    """
    x = operand("avg_pool2d: x", x)
    windows = _pooling_windows("avg_pool2d", x, kernel_size, stride, padding)
    sums = _totals(x, windows, x.shape)
    if divisor_override is not None:
        divisor = as_int("avg_pool2d: divisor_override", divisor_override)
        if not divisor:
            raise ValueError("avg_pool2d: divisor_override: expected a whole number other than 0, got 0")
        return sums * (1.0 / divisor)
    if count_include_pad or windows.before == (0, 0):
        return sums * (1.0 / (windows.kernel[0] * windows.kernel[1]))
    rows, columns = (_counts(*of) for of in zip(*windows, x.shape[2:]))
    return sums * array_like((1.0 / np.outer(rows, columns)).astype(x.dtype), x)


def _counts(kernel: int, stride: int, before: int, out: int, size: int) -> np.ndarray:
    """Return how many elements of each window lie within the image, along one dimension."""
    first = np.arange(out) * stride - before
    return np.minimum(first + kernel, size) - np.maximum(first, 0)
