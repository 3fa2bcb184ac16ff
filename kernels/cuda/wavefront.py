"""A stack of layers as a wavefront: a piece of a layer's steps runs at the same time as later pieces of those below.

    time ->    layer 2            [0 - 63] [64 - 127] ...
               layer 1   [0 - 63] [64 - 127] ...
    waves                1st      2nd      3rd

A wave is one launch of the kernel, with a part of the device for each of its layers. Between waves, the input products
of the next pieces are computed. With C pieces, L layers take C + L - 1 waves of T / C steps each instead of L T steps.
A small layer spends most of a step waiting, and in a wave all layers wait at the same time. A backward runs the same
waves in reverse order. Source: Appleyard, Kocisky and Blunsom, Optimizing performance of recurrent neural networks on
GPUs, 2016, section 3.3.
"""

from __future__ import annotations

RUN = 8
"""The fixed cost of a launch, in steps: the launch, its resident weights, the product of a piece. An estimate."""

Wave = list[tuple[int, slice]]
"""Layers, each with the steps that it runs."""


def pieces(T: int, layers: int) -> list[slice]:
    """Return T steps in C pieces of about one size, with the C that makes (C + layers - 1) (T / C + RUN) smallest."""
    count = max(1, round((T * (layers - 1) / RUN) ** 0.5))
    size = max(1, -(-T // count))
    return [slice(first, min(first + size, T)) for first in range(0, max(T, 1), size)]


def waves(T: int, layers: int, at_once: int) -> list[Wave]:
    """Return the waves of a forward, in order, if `at_once` layers run at once."""
    found = list[Wave]()
    for first in range(0, layers, at_once):
        group = range(first, min(first + at_once, layers))
        parts = pieces(T, len(group))
        for k in range(len(parts) + len(group) - 1):
            found.append([(i, parts[k - j]) for j, i in enumerate(group) if 0 <= k - j < len(parts)])
    return found
