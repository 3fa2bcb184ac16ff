"""The choice of ids from logits: the most likely one, or one drawn at random from all, from k, or from the nucleus."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.device import to_numpy
from ..autograd.primitives.static import as_int


def choose(
    logits: np.ndarray,
    temperature: float,
    generator: np.random.Generator,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Any:
    """Return ids drawn from softmax(logits / temperature): logits [..., V] -> int64 [...].

    Each id takes one number of `generator`. temperature 0: the most likely id, and nothing is drawn. top_k: draw from
    the k most likely ids only. top_p: then only from the nucleus of those, the smallest set of most likely ids that
    have at least this share of the probability: Holtzman et al., The curious case of neural text degeneration (2020),
    section 3.1. Of equally likely ids the first counts as more likely.
    """
    if temperature == 0:
        return np.argmax(logits, -1)
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp((logits.astype(np.float64) - logits.max(-1, keepdims=True)) / temperature)
    if top_k is not None and top_k < weights.shape[-1] or top_p is not None and top_p < 1:
        weights = _truncated(weights, top_k, top_p)
    bounds = np.cumsum(weights, -1)
    total = bounds[..., -1]
    drawn = generator.random(total.shape) * total  # rounded below the total, as no number drawn is above 1 - 2^-53
    return (bounds <= drawn[..., None]).sum(-1)


def _truncated(weights: np.ndarray, top_k: int | None, top_p: float | None) -> np.ndarray:
    """Return weights [..., V] with 0 for the ids that top_k and top_p exclude."""
    rows = weights.reshape(-1, weights.shape[-1])
    order = largest(rows, min(top_k or rows.shape[1], rows.shape[1]))
    falling = np.take_along_axis(rows, order, 1)
    if top_p is not None:
        sums = np.cumsum(falling, 1)
        falling[:, 1:][sums[:, :-1] >= top_p * sums[:, -1:]] = 0  # those before it are enough
    out = np.zeros_like(rows)
    np.put_along_axis(out, order, falling, 1)
    return out.reshape(weights.shape)


def check_choice(name: str, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError or TypeError for settings of `choose` that are not allowed. name: of who asks, for errors."""
    if not isinstance(temperature, (int, float, np.number)) or not 0 <= temperature < math.inf:
        raise ValueError(f"{name}: temperature: expected a finite number from 0 up, got {temperature!r}")
    if top_k is not None and as_int(f"{name}: top_k", top_k, "a whole number from 1 up, or None") < 1:
        raise ValueError(f"{name}: top_k: expected a whole number from 1 up, or None, got {top_k!r}")
    if top_p is not None and not (isinstance(top_p, (int, float, np.number)) and 0 < top_p <= 1):
        raise ValueError(f"{name}: top_p: expected a number above 0 and up to 1, or None, got {top_p!r}")


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Return the positions of the k largest numbers of each row, [R, M] -> [R, k], largest first.

    Of equal numbers the first counts as larger. k: at most M. The numbers may be -inf, not NaN.
    """
    bound = np.partition(values, -k, 1)[:, -k, None]
    above, level = values > bound, values == bound
    room = k - above.sum(1, keepdims=True)
    found = np.nonzero(above | level & (np.cumsum(level, 1) <= room))[1].reshape(-1, k)
    order = np.argsort(-np.take_along_axis(values, found, 1), 1, kind="stable")
    return np.take_along_axis(found, order, 1)


# The two sides of a step: ids in, logits out


def start_ids(name: str, start: Any) -> np.ndarray:
    """Return the ids of `start`, one or N, as int64 [N]. Raise TypeError or ValueError for anything else."""
    found = np.atleast_1d(to_numpy(start, f"{name}: start", any_dtype=True))
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: start: expected whole numbers, got {found.dtype}")
    if found.ndim != 1 or not found.size:
        raise ValueError(f"{name}: start: expected one id, or N of them, got shape {found.shape}")
    return found.astype(np.int64)


def checked_step(name: str, result: Any, rows: int, end: int | None) -> tuple[np.ndarray, Any]:
    """Return (logits [rows, V] on the CPU, state) of the result of a step, checked."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name}: step: expected it to return (logits, state), got {type(result).__name__}")
    logits = to_numpy(result[0], f"{name}: step: logits")
    if logits.ndim != 2 or logits.shape[0] != rows or not logits.shape[1] or logits.dtype.kind != "f":
        got = f"{logits.dtype} of shape {logits.shape}"
        raise ValueError(f"{name}: step: expected floating logits of shape [{rows}, V], got {got}")
    highest = logits.max(1)
    if not np.isfinite(highest).all():  # NaN and inf are their own maximum, -inf if there is nothing else
        row = int(np.argmin(np.isfinite(highest)))
        raise ValueError(
            f"{name}: step: expected logits without NaN and inf, and not only -inf, got {highest[row]} in row {row}"
        )
    if end is not None and end >= logits.shape[1]:
        raise ValueError(f"{name}: end: expected an id below {logits.shape[1]}, the number of logits, got {end}")
    return logits, result[1]


def checked_end(name: str, end: Any) -> int:
    """Return the id that ends a sequence as an int. Raise TypeError or ValueError unless it is one."""
    found = as_int(f"{name}: end", end, "an id")
    if found < 0:
        raise ValueError(f"{name}: end: expected an id from 0 up, got {found}")
    return found
