"""Convolution of images and of sequences.

The convolution is linear in x and in the weight, and so are its two gradients. So the VJPs of these three functions are
each other:

    out = convolution(x, w)           d_x = input_gradient(g, w)       d_w = weight_gradient(g, x)
    d_x = input_gradient(g, w)        d_g = convolution(h, w)          d_w = weight_gradient(g, h)
    d_w = weight_gradient(g, x)       d_g = convolution(x, v)          d_x = input_gradient(g, v)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...arrays.box import Box
from ...arrays.coercion import operand
from ...kernels import dense
from ..primitive import primitive
from .shape import reshape
from .windows import Pair, pair, single, windows_over


def _vjp(needs: list[bool], g: Any, x: Any, weight: Any, windows: Any) -> list[Any]:
    """Return the cotangents of x, of the weight and, if it is asked for, of the bias."""
    d_x = _input_gradient(g, weight, windows, x.shape) if needs[0] else None
    if any(needs[2:]) and not isinstance(g, Box) and not isinstance(x, Box):
        return [d_x, *dense.convolution_weight_gradient(g, x, windows)]
    d_weight = _weight_gradient(g, x, windows) if needs[1] else None
    return [d_x, d_weight, *(g.sum((0, 2, 3)) if need else None for need in needs[2:])]


_EXPECTS = "x [N, C, height, width] and weight [O, C, p, q]"
_convolution: Callable[..., Any] = primitive(
    "convolution",
    lambda x, weight, windows: dense.convolution(x, weight, None, windows),
    lambda g, x, weight, windows: _input_gradient(g, weight, windows, x.shape),
    lambda g, x, weight, windows: _weight_gradient(g, x, windows),
    expects=_EXPECTS,
    unaliased=True,
)
_convolution_with_bias: Callable[..., Any] = primitive(
    "convolution_with_bias",
    lambda x, weight, bias, windows: dense.convolution(x, weight, bias, windows),
    lambda needs, g, x, weight, windows: _vjp(needs, g, x, weight, windows),
    combined=True,
    expects=_EXPECTS + " and bias [O]",
    unaliased=True,
)
_input_gradient: Callable[..., Any] = primitive(
    "convolution_input_gradient",
    lambda g, weight, windows, shape: dense.convolution_input_gradient(g, weight, windows, shape),
    lambda h, g, weight, windows: _convolution(h, weight, windows),
    lambda h, g, weight, windows: _weight_gradient(g, h, windows),
    unaliased=True,
)
_weight_gradient: Callable[..., Any] = primitive(
    "convolution_weight_gradient",
    lambda g, x, windows: dense.convolution_weight_gradient(g, x, windows)[0],
    lambda v, g, x, windows: _convolution(x, v, windows),
    lambda v, g, x, windows: _input_gradient(g, v, windows, x.shape),
    unaliased=True,
)


def conv2d(x: Any, weight: Any, bias: Any = None, stride: int | Pair = 1, padding: int | Pair | str = 0) -> Any:
    """Return the two-dimensional convolution of x and weight (cross-correlation, as everywhere in deep learning).

    out[n, o, i, j] = bias[o] + sum over c, p, q of weight[o, c, p, q] x[n, c, i * stride + p, j * stride + q]

    x [N, C, height, width], weight [O, C, p, q], bias [O] or None, of one floating dtype
    -> [N, O, (height + 2 * padding - p) // stride + 1, (width + 2 * padding - q) // stride + 1].
    stride and padding: an integer, or a pair (vertical, horizontal). padding may also be "valid" (0), or "same", for
    stride 1: p - 1 and q - 1 zeros, the odd one below and to the right, so that the result has the sizes of x.
    Raise ValueError for shapes that do not fit and for "same" with another stride.
    """
    stride = pair("conv2d: stride", stride, 1)
    return _convolved("conv2d", x, weight, bias, stride, padding)


def conv1d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0) -> Any:
    """Return the one-dimensional convolution of x and weight.

    out[n, o, i] = bias[o] + sum over c, p of weight[o, c, p] x[n, c, i * stride + p]

    x [N, C, length], weight [O, C, p], bias [O] or None, of one floating dtype
    -> [N, O, (length + 2 * padding - p) // stride + 1]. stride, padding and errors: as for `conv2d`.
    """
    x, weight = operand("conv1d: x", x), operand("conv1d: weight", weight)
    if len(x.shape) != 3:
        raise ValueError(f"conv1d: x: expected shape [N, C, length], got {x.shape}")
    if len(weight.shape) != 3 or weight.shape[1] != x.shape[1]:
        raise ValueError(f"conv1d: weight: expected shape [O, C, p] with C as in x {x.shape}, got {weight.shape}")
    stride = 1, single("conv1d: stride", stride, 1)
    if not isinstance(padding, str):
        padding = 0, single("conv1d: padding", padding, 0)
    images, kernels = (reshape(a, (*a.shape[:2], 1, a.shape[2])) for a in (x, weight))
    out = _convolved("conv1d", images, kernels, bias, stride, padding)
    return reshape(out, (*out.shape[:2], out.shape[3]))


def _convolved(name: str, x: Any, weight: Any, bias: Any, stride: Pair, padding: Any) -> Any:
    """Return the convolution of images. name: of the function that the user called, for errors."""
    x, weight = operand(f"{name}: x", x), operand(f"{name}: weight", weight)
    bias = None if bias is None else operand(f"{name}: bias", bias)
    if len(weight.shape) != 4 or len(x.shape) == 4 and weight.shape[1] != x.shape[1]:
        raise ValueError(f"{name}: weight: expected shape [O, C, p, q] with C as in x {x.shape}, got {weight.shape}")
    if bias is not None and tuple(bias.shape) != weight.shape[:1]:
        raise ValueError(f"{name}: bias: expected shape {weight.shape[:1]} as weight has rows, got {bias.shape}")
    kernel = weight.shape[2], weight.shape[3]
    windows = windows_over(name, x, kernel, stride, *_borders(name, padding, kernel, stride))
    if bias is None:
        return _convolution(x, weight, windows)
    return _convolution_with_bias(x, weight, bias, windows)


def _borders(name: str, padding: Any, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
    """Return the borders before and after the image. Raise ValueError for a padding that is not allowed."""
    if not isinstance(padding, str):
        border = pair(f"{name}: padding", padding, 0)
        return border, border
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise ValueError(f"{name}: padding: expected a number, 'same' or 'valid', got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f"{name}: padding: expected a number or 'valid' for a stride other than 1, got 'same'")
    (p, q), half = kernel, lambda n: (n - 1) // 2
    return (half(p), half(q)), (p - 1 - half(p), q - 1 - half(q))
