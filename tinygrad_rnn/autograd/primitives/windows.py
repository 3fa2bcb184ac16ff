"""The sizes of windows over images: arguments of convolution and pooling, checked."""

from __future__ import annotations

from typing import Any

from ...kernels.dense import Windows
from .static import as_ints

Pair = tuple[int, int]


def pair(name: str, value: int | Pair, least: int) -> Pair:
    """Return one or two integers as a pair. Raise ValueError for anything else, or below `least`."""
    expected = f"one or two whole numbers from {least} up"
    found = _integers(name, value, least, expected)
    if len(found) not in (1, 2):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return found[0], found[-1]


def single(name: str, value: Any, least: int) -> int:
    """Return one integer, or the one of a sequence. Raise ValueError for anything else, or below `least`."""
    expected = f"a whole number from {least} up"
    found = _integers(name, value, least, expected)
    if len(found) != 1:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return found[0]


def _integers(name: str, value: Any, least: int, expected: str) -> tuple[int, ...]:
    try:
        found = as_ints(name, value, expected)
    except TypeError as error:
        raise ValueError(f"{name}: expected {expected}, got {value!r}") from error
    if any(n < least for n in found):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return found


def windows_over(name: str, x: Any, kernel: Pair, stride: Pair, before: Pair, after: Pair) -> Windows:
    """Return the windows over x with a border before and after it.

    Raise ValueError unless x is [N, C, height, width] and, with its border, at least as large as the kernel.
    """
    if len(x.shape) != 4:
        raise ValueError(f"{name}: x: expected shape [N, C, height, width], got {x.shape}")
    sizes = [n + b + a for n, b, a in zip(x.shape[2:], before, after)]
    if any(n < k for n, k in zip(sizes, kernel)):
        raise ValueError(f"{name}: x: expected an image of at least {kernel} with its padding, got {x.shape[2:]}")
    down, across = ((n - k) // s + 1 for n, k, s in zip(sizes, kernel, stride))
    return Windows(kernel, stride, before, (down, across))
