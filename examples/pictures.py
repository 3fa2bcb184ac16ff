"""Images that several examples read, and pictures that they draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1,797 handwritten digits, [K, 8, 8] from 0 to 1, and their classes.

    Without scikit-learn, end the program with one line that says how to install it.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SystemExit("scikit-learn is missing: pip install 'tinygrad_rnn[examples]'") from None
    found = load_digits()
    return (found.images / 16).astype("float32"), found.target


def pyplot() -> Any:
    """Return matplotlib.pyplot, or end the program with one line that says how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise SystemExit("--plot: matplotlib is missing: pip install 'tinygrad_rnn[plot]'") from None
    return plt


def attention(path: str, image: np.ndarray, titles: Sequence[Any], weights: np.ndarray) -> None:
    """Draw an image of square places [places, pixels] in a square, and again for each row of weights [T, places]."""
    plt = pyplot()
    rows = columns = math.isqrt(len(image))
    height = width = math.isqrt(image[0].size)
    image = image.reshape(rows, columns, height, width)
    whole = lambda places: places.swapaxes(1, 2).reshape(rows * height, columns * width)
    _, axes = plt.subplots(1, len(titles), figsize=(1.8 * len(titles), 2.2))
    for axis, title, weight in zip(axes, titles, [None, *weights]):
        axis.imshow(whole(image), cmap="gray_r")
        if weight is not None:
            shade = np.broadcast_to(weight.reshape(rows, columns, 1, 1), image.shape)
            axis.imshow(whole(shade), cmap="Reds", alpha=0.6, vmin=0, vmax=1)
        axis.set(title=title, xticks=[], yticks=[])
    plt.savefig(path, dpi=90, bbox_inches="tight")
    plt.close()


def alignment(path: str, read: Sequence[str], written: Sequence[str], weights: np.ndarray) -> None:
    """Draw the weights [written, read] of a decoder that attends to what it reads."""
    plt = pyplot()
    _, axis = plt.subplots(figsize=(0.3 * len(read) + 1, 0.3 * len(written) + 1))
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(read)), read)
    axis.set_yticks(range(len(written)), written)
    plt.savefig(path, dpi=90, bbox_inches="tight")
    plt.close()


def grid(path: str, images: np.ndarray) -> None:
    """Draw images [rows, columns, height, width] in a grid."""
    plt = pyplot()
    framed = np.pad(images.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.3)
    rows, columns, height, width = framed.shape
    plt.imsave(
        path, framed.swapaxes(1, 2).reshape(rows * height, columns * width).repeat(6, 0).repeat(6, 1), cmap="gray_r"
    )
