"""Categories drawn at random, from the one stream of `tg.manual_seed`. A draw has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.box import boxed
from ...arrays.coercion import operand
from ...arrays.device import device_of, to_device, to_numpy
from ...arrays.random import generator
from .static import as_int, flag


def multinomial(input: Any, num_samples: int, replacement: bool = False) -> Any:
    """Return categories drawn with probabilities proportional to the weights in each row of `input`.

    input: floating, [V] or [N, V], not negative; a row need not add up to 1. Returns int64, [num_samples] or
    [N, num_samples]. Without replacement no category comes twice in a row, and the first drawn comes first (Efraimidis
    and Spirakis, Weighted random sampling with a reservoir, 2006). The draws are the CPU's, so a seed gives the same
    ones on every device. Raise ValueError for a weight that is negative or not finite, a row without a weight above 0,
    and, without replacement, a row with fewer of those than num_samples.
    """
    input = operand("multinomial: input", input)
    device, weights = device_of(input), to_numpy(input)
    count, replacement = as_int("multinomial: num_samples", num_samples), flag("multinomial: replacement", replacement)
    if weights.dtype.kind != "f":
        raise TypeError(f"multinomial: input: expected a floating dtype, got {weights.dtype}")
    if weights.ndim not in (1, 2):
        raise ValueError(f"multinomial: input: expected shape [V] or [N, V], got {weights.shape}")
    if count < 1:
        raise ValueError(f"multinomial: num_samples: expected a whole number from 1 up, got {count}")
    rows = np.atleast_2d(weights).astype(np.float64)
    _check_weights(rows, count, replacement)
    drawn = _with_replacement(rows, count) if replacement or count == 1 else _without_replacement(rows, count)
    return boxed(to_device(drawn.reshape(*weights.shape[:-1], count), device))


def _check_weights(rows: np.ndarray, count: int, replacement: bool) -> None:
    wrong = ~(np.isfinite(rows) & (rows >= 0))
    if wrong.any():
        got = rows[wrong][0]
        raise ValueError(f"multinomial: input: expected finite weights from 0 up, got {got}")
    above = np.count_nonzero(rows, axis=1)
    if (above == 0).any():
        raise ValueError(f"multinomial: input: expected a weight above 0 in each row, got none in row {above.argmin()}")
    if not replacement and (above < count).any():
        raise ValueError(
            f"multinomial: num_samples: expected at most {above.min()}, the number of weights above 0 in row "
            f"{above.argmin()}, without replacement, got {count}"
        )


def _with_replacement(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the first category at which the running sum of the weights exceeds a part of the total drawn evenly."""
    sums = np.cumsum(rows / rows.max(1, keepdims=True, initial=0), 1)  # a sum of the weights could overflow
    total = sums[:, -1:]
    # A product rounded up to the total would come behind the last category.
    parts = np.minimum(generator().random((len(rows), count)) * total, np.nextafter(total, 0))
    drawn = [np.searchsorted(row, part, side="right") for row, part in zip(sums, parts)]
    return np.array(drawn, np.int64).reshape(len(rows), count)


def _without_replacement(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the categories of the smallest E / weight, E drawn from the exponential distribution for each."""
    with np.errstate(divide="ignore"):  # 0 may be drawn
        waits, none = np.log(generator().standard_exponential(rows.shape)), rows == 0
    keys = np.where(none, np.inf, waits - np.log(np.where(none, 1.0, rows)))  # logs, as the quotient could overflow
    least = np.argpartition(keys, count - 1, 1)[:, :count]
    return np.take_along_axis(least, np.argsort(np.take_along_axis(keys, least, 1), 1), 1)
