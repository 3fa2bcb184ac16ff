"""The plot of a run: bits per character over the steps."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..arrays.writing import write_atomically

COLUMNS = 4000  # more than the plot has pixels; steps that share a column are drawn as their smallest and largest loss


def plot_loss(path: Path, losses: np.ndarray, validations: np.ndarray, steps_per_epoch: int, title: str) -> None:
    """Write a PNG of the training loss of every step, its running mean, and the validations.

    losses: bits per character [steps]. validations: rows of (step, bits per character) [K, 2].
    Raises ImportError where matplotlib is missing, OSError where the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = np.arange(1, len(losses) + 1)
    drawn = extremes(losses, COLUMNS)
    axes.plot(steps[drawn], losses[drawn], color="tab:blue", alpha=0.25, linewidth=0.8, label="training, each step")
    window = max(1, len(losses) // 50)
    mean = running_mean(losses, window)
    axes.plot(steps[window // 2 :][: len(mean)], mean, color="tab:blue", label=f"training, mean of {window} steps")
    if len(validations):
        label = f"held-out text, {validations[-1, 1]:.3f} at the end"
        axes.plot(validations[:, 0], validations[:, 1], "o-", color="tab:orange", markersize=4, label=label)
    axes.set(title=title, xlabel="optimiser step", ylabel="bits per character")
    per = float(steps_per_epoch)
    epochs = axes.secondary_xaxis("top", functions=(lambda s: np.divide(s, per), lambda e: np.multiply(e, per)))
    epochs.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(path, picture.getvalue())


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the means of all runs of `window` neighbours, [len(values) - window + 1], in linear time."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    return (sums[window:] - sums[:-window]) / window


def extremes(values: np.ndarray, columns: int) -> np.ndarray:
    """Return the sorted indices of the first, the last, and each column's smallest and largest value.

    A line through these looks like a line through all values if a column is no wider than a pixel. For fewer than
    about four values a column, return all indices.
    """
    width = -(-len(values) // columns)
    if width < 4:
        return np.arange(len(values))
    whole = len(values) // width * width
    rows = values[:whole].reshape(-1, width)
    starts = np.arange(0, whole, width)
    rest = np.arange(whole, len(values))
    return np.unique(np.concatenate([[0, len(values) - 1], starts + rows.argmin(1), starts + rows.argmax(1), rest]))
