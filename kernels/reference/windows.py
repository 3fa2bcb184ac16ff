"""Convolution and pooling in NumPy: the oracle of the compiled ones. Other libraries' arrays with its protocol do too.

x [N, C, height, width], weight [O, C, p, q], g and results [N, O or C, *windows.out].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ir.windows import Pair, Windows

Array = Any


def _border(windows: Windows, size: tuple[int, ...]) -> tuple[Pair, Pair]:
    """Return the widths of the border, (above, below) and (left, right), that windows over an image of `size` need."""
    ends = [s * (n - 1) + k - b for k, s, b, n in zip(*windows)]
    (above, left), (below, right) = windows.before, (max(0, end - n) for end, n in zip(ends, size))
    return (above, below), (left, right)


def _offsets(windows: Windows) -> Iterator[tuple[int, int, tuple]]:
    """Yield each offset (p, q) in a window, and the slice of a bordered image that it covers in all windows."""
    for p in range(windows.kernel[0]):
        for q in range(windows.kernel[1]):
            spans = (slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip((p, q), windows.out, windows.stride))
            yield p, q, (..., *spans)


def _bordered(x: Array, windows: Windows, number: float = 0.0) -> Array:
    border = _border(windows, x.shape[2:])
    return np.pad(x, ((0, 0), (0, 0), *border), constant_values=number) if any(map(any, border)) else x


def _inside(image: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """Return the image of this shape without its border."""
    (above, left), (height, width) = windows.before, shape[2:]
    return image[:, :, above : above + height, left : left + width]


def _wide_zeros(g: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """Return zeros for an image of this shape and its border."""
    size = [n + sum(b) for n, b in zip(shape[2:], _border(windows, shape[2:]))]
    return np.zeros_like(g, shape=(*shape[:2], *size))


def unfold(x: Array, windows: Windows) -> Array:
    """Return the numbers of all windows [N, C, p, q, *windows.out]."""
    image = _bordered(x, windows)
    found = np.empty_like(x, shape=(*x.shape[:2], *windows.kernel, *windows.out))
    for p, q, at in _offsets(windows):
        found[:, :, p, q] = image[at]
    return found


def fold(columns: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """Return the image of this shape to which every window is added at its place: the adjoint of `unfold`."""
    image = _wide_zeros(columns, windows, shape)
    for p, q, at in _offsets(windows):
        image[at] += columns[:, :, p, q]
    return _inside(image, windows, shape)


def convolution(x: Array, weight: Array, bias: Array | None, windows: Windows) -> Array:
    """Return bias[o] + the sum over c, p, q of weight[o, c, p, q] times window number (c, p, q)."""
    n, o, places = x.shape[0], weight.shape[0], math.prod(windows.out)
    columns = unfold(x, windows).reshape(n, math.prod(weight.shape[1:]), places)
    out = np.matmul(weight.reshape(o, -1), columns) if weight.size else np.zeros_like(x, shape=(n, o, places))
    if bias is not None:
        out += bias[:, None]
    return out.reshape(n, o, *windows.out)


def convolution_input_gradient(g: Array, weight: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """Return the gradient of g . convolution by x, of this shape."""
    o, places = weight.shape[0], math.prod(windows.out)
    columns = np.matmul(weight.reshape(o, math.prod(weight.shape[1:])).T, g.reshape(g.shape[0], o, places))
    return fold(columns.reshape(shape[0], *weight.shape[1:], *windows.out), windows, shape)


def convolution_weight_gradient(g: Array, x: Array, windows: Windows) -> tuple[Array, Array]:
    """Return the gradients of g . convolution by the weight and by the bias."""
    (n, o), channels, places = g.shape[:2], x.shape[1], math.prod(windows.out)
    columns = unfold(x, windows).reshape(n, channels * math.prod(windows.kernel), places)
    found = np.matmul(g.reshape(n, o, places), columns.mT).sum(0)
    return found.reshape(o, channels, *windows.kernel), g.sum((0, 2, 3))


def largest(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Return the largest number of each window, and the first place p * kernel[1] + q that holds it, as int64.

    Places in the border do not count. A NaN counts as the largest, and the last one gives the place.
    """
    image = _bordered(x, windows, -math.inf)
    found = which = None
    for place, (_, _, at) in enumerate(_offsets(windows)):
        new = image[at]
        if found is None or which is None:
            found, which = new.copy(), np.zeros_like(new, np.int64)
            continue
        above = np.logical_or(new > found, new != new)
        found, which = np.where(above, new, found), np.where(above, place, which)
    return found, which


def pick(x: Array, which: Array, windows: Windows) -> Array:
    """Return the number of each window at the place `which`."""
    image, found = _bordered(x, windows), np.zeros_like(x, shape=which.shape)
    for place, (_, _, at) in enumerate(_offsets(windows)):
        found = np.where(which == place, image[at], found)
    return found


def place(g: Array, which: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """Return the image of this shape to which each window's number is added at its place: the adjoint of `pick`."""
    image = _wide_zeros(g, windows, shape)
    for place, (_, _, at) in enumerate(_offsets(windows)):
        image[at] += np.where(which == place, g, 0)
    return _inside(image, windows, shape)


def totals(x: Array, windows: Windows) -> Array:
    """Return the sum of each window."""
    image, found = _bordered(x, windows), np.zeros_like(x, shape=(*x.shape[:2], *windows.out))
    for _, _, at in _offsets(windows):
        found += image[at]
    return found


def spread(g: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """Return the image of this shape to which each window's number is added at all its places: adjoint of `totals`."""
    image = _wide_zeros(g, windows, shape)
    for _, _, at in _offsets(windows):
        image[at] += g
    return _inside(image, windows, shape)
