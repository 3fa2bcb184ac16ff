"""Windows that slide over images: unfold and its adjoint fold, and convolution and pooling, which use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.coercion import operand
from ..primitive import primitive
from .products import matmul
from .reduce import max as max_along
from .shape import pad as pad_last
from .shape import permute, reshape
from .static import as_ints

Pair = tuple[int, int]


def _window_slices(sizes: tuple, kernel: Pair, stride: Pair) -> list[tuple[int, int, tuple]]:
    """Return each offset (i, j) in the window, with the strided slice of the image that it covers in all windows."""
    spans = [[slice(i, i + (n - k) // s * s + 1, s) for i in range(k)] for n, k, s in zip(sizes, kernel, stride)]
    return [(i, j, (..., down, across)) for i, down in enumerate(spans[0]) for j, across in enumerate(spans[1])]


def _windows(x: Any, kernel: Pair, stride: Pair, shape: tuple[int, ...]) -> Any:
    """Return every window of an image [N, C, height, width] as [N, C, p, q, rows, columns]; `kernel` is (p, q)."""
    out = tuple((n - k) // s + 1 for n, k, s in zip(shape[2:], kernel, stride))
    windows = np.empty_like(x, shape=(*shape[:2], *kernel, *out))
    for i, j, at in _window_slices(shape[2:], kernel, stride):
        windows[:, :, i, j] = x[at]
    return windows


def _overlap_added(g: Any, kernel: Pair, stride: Pair, shape: tuple[int, ...]) -> Any:
    """Return the image of this shape in which every window is added at its position: the adjoint of `_windows`."""
    image = np.zeros_like(g, shape=shape)
    for i, j, at in _window_slices(shape[2:], kernel, stride):
        image[at] += g[:, :, i, j]
    return image


_unfold = primitive(
    "unfold",
    _windows,
    lambda g, kernel, stride, shape: _fold(g, kernel, stride, shape),
)
_fold: Callable[..., Any] = primitive(
    "fold",
    _overlap_added,
    lambda g, kernel, stride, shape: _unfold(g, kernel, stride, shape),
)


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    """Return one or two integers as a pair. Raise ValueError for anything else, or below `least`."""
    expected = f"one or two whole numbers from {least} up"
    try:
        found = as_ints(name, value, expected)
    except TypeError as error:
        raise ValueError(f"{name}: expected {expected}, got {value!r}") from error
    if len(found) not in (1, 2) or any(n < least for n in found):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return found[0], found[-1]


def _check_image(name: str, x: Any, kernel: Pair, padding: Pair) -> None:
    """Raise ValueError unless x is [N, C, height, width] and its padded image is at least as large as the kernel."""
    if len(x.shape) != 4:
        raise ValueError(f"{name}: x: expected shape [N, C, height, width], got {x.shape}")
    if any(n + 2 * p < k for n, p, k in zip(x.shape[2:], padding, kernel)):
        raise ValueError(f"{name}: x: expected an image of at least {kernel} with its padding, got {x.shape[2:]}")


def conv2d(x: Any, weight: Any, bias: Any = None, stride: int | Pair = 1, padding: int | Pair = 0) -> Any:
    """Return the two-dimensional convolution of x and weight (cross-correlation, as everywhere in deep learning).

    out[n, o, i, j] = bias[o] + sum over c, p, q of weight[o, c, p, q] x[n, c, i * stride + p, j * stride + q]

    x [N, C, height, width], weight [O, C, p, q], bias [O] or None, of one floating dtype
    -> [N, O, (height + 2 * padding - p) // stride + 1, (width + 2 * padding - q) // stride + 1].
    stride and padding: an integer, or a pair (vertical, horizontal). Raise ValueError for shapes that do not fit.
    It is one matrix product over all windows: enough for an image encoder before a recurrent network, but slower than
    cuDNN.
    """
    x, weight = operand("conv2d: x", x), operand("conv2d: weight", weight)
    bias = None if bias is None else operand("conv2d: bias", bias)
    stride, padding = _pair("conv2d: stride", stride, 1), _pair("conv2d: padding", padding, 0)
    if len(weight.shape) != 4 or len(x.shape) == 4 and weight.shape[1] != x.shape[1]:
        raise ValueError(f"conv2d: weight: expected shape [O, C, p, q] with C as in x {x.shape}, got {weight.shape}")
    kernel = tuple(weight.shape[2:])
    _check_image("conv2d", x, kernel, padding)
    if any(padding):
        x = pad_last(x, (padding[1], padding[1], padding[0], padding[0]))
    windows = permute(_unfold(x, kernel, stride, x.shape), (0, 4, 5, 1, 2, 3))
    n, height, width = windows.shape[:3]
    rows = reshape(windows, (n * height * width, weight.shape[1] * kernel[0] * kernel[1]))
    out = matmul(rows, reshape(weight, (weight.shape[0], rows.shape[1])).mT)
    if bias is not None:
        out = out + bias
    return permute(reshape(out, (n, height, width, weight.shape[0])), (0, 3, 1, 2))


def max_pool2d(x: Any, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Any:
    """Return the largest element of each window; the gradient goes to the first of equal ones.

    x [N, C, height, width] -> [N, C, ...] with the sizes of `conv2d`. stride: the kernel's size by default.
    padding: the border of -inf, at most half of the kernel. Raise ValueError for sizes that do not fit.
    """
    x = operand("max_pool2d: x", x)
    kernel = _pair("max_pool2d: kernel_size", kernel_size, 1)
    step = kernel if stride is None else _pair("max_pool2d: stride", stride, 1)
    border = _pair("max_pool2d: padding", padding, 0)
    _check_image("max_pool2d", x, kernel, border)
    if any(2 * p > k for p, k in zip(border, kernel)):
        raise ValueError(f"max_pool2d: padding: expected at most half of kernel_size {kernel}, got {border}")
    if any(border):
        x = pad_last(x, (border[1], border[1], border[0], border[0]), -np.inf)
    windows = _unfold(x, kernel, step, x.shape)
    flat = reshape(windows, (*windows.shape[:2], kernel[0] * kernel[1], *windows.shape[4:]))
    return max_along(flat, 2).values
