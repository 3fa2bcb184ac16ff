"""A stack of layers as a wavefront: a layer's steps in pieces, each at the same time as later pieces of those below.

    time ->    layer 2            [0 - 63] [64 - 127] ...
               layer 1   [0 - 63] [64 - 127] ...
    waves                1st      2nd      3rd

A wave is one run of the kernel, with a part of the device for each layer in it; between waves come the products of
the inputs of the pieces to come. With C pieces, L layers take C + L - 1 waves of T / C steps each, not L T steps: most
of a step of a small layer is waiting, and so all wait at the same time. Backward the same waves in the other order.
The idea is that of Appleyard, Kocisky and Blunsom, Optimizing performance of recurrent neural networks on GPUs, 2016,
section 3.3.
"""

from __future__ import annotations

RUN = 8
"""How many steps take as long as what each run costs beside them: launch, weights that stay, product of a piece. Not
measured on a GPU yet."""

Wave = list[tuple[int, slice]]
"""Layers, each with the steps that it goes through."""


def pieces(T: int, layers: int) -> list[slice]:
    """T steps in pieces of about one size: as many as make (C + layers - 1) (T / C + RUN) least."""
    count = max(1, round((T * (layers - 1) / RUN) ** 0.5))
    size = max(1, -(-T // count))
    return [slice(first, min(first + size, T)) for first in range(0, max(T, 1), size)]


def waves(T: int, layers: int, at_once: int) -> list[Wave]:
    """The waves of a forward, in order, where so many layers run at once; of a backward in the other order."""
    found = list[Wave]()
    for first in range(0, layers, at_once):
        group = range(first, min(first + at_once, layers))
        parts = pieces(T, len(group))
        for k in range(len(parts) + len(group) - 1):
            found.append([(i, parts[k - j]) for j, i in enumerate(group) if 0 <= k - j < len(parts)])
    return found
