"""Windows that slide over images, as convolution and pooling use them."""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[int, int]


class Windows(NamedTuple):
    """Windows of one size over the last two dimensions of an image; each pair is (vertical, horizontal).

    kernel: the size of a window. stride: the distance between windows. before: the border above and to the left of the
    image. out: the number of windows. Window (i, j) begins at (i, j) * stride - before. Windows may reach past the end.
    """

    kernel: Pair
    stride: Pair
    before: Pair
    out: Pair
