"""Decoding of connectionist temporal classification: from log-probabilities of each step to labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import array_of
from ..arrays.device import to_numpy
from ..nn.functional.ctc import blank_class, checked_lengths, time_batch_classes


def ctc_greedy_decode(log_probs: Any, input_lengths: Any = None, blank: int = 0) -> list[list[int]]:
    """Return the labels of the best path of each sequence: the most probable class of each step, repeated classes
    merged, then blanks dropped.

    log_probs [T, N, C], or [T, C] for one sequence; logits give the same labels. input_lengths: [N] integers in [0, T],
    by default all T. Of equal numbers the first wins. Returns N lists. The best path need not spell the most probable
    labels. Graves et al., Connectionist temporal classification (2006), section 3.2.

    Raises ValueError for shapes, lengths or a blank that do not fit and for NaN, TypeError for wrong dtypes.
    """
    name = "ctc_greedy_decode"
    given = log_probs.array if isinstance(log_probs, Box) else array_of(f"{name}: log_probs", log_probs)
    x = time_batch_classes(name, boxed(given)).array
    steps, batch, classes = x.shape
    blank = blank_class(name, blank, classes)
    if input_lengths is None:
        input_lengths = np.full(batch, steps)
    lengths = checked_lengths(f"{name}: input_lengths", input_lengths, batch, steps)
    real = np.arange(steps)[:, None] < lengths
    best, undefined = to_numpy(x.argmax(2)), to_numpy(np.isnan(x).any(2)) & real
    if undefined.any():
        t, n = np.argwhere(undefined)[0].tolist()
        raise ValueError(f"{name}: log_probs: expected numbers, got NaN in step {t} of sequence {n}")
    starts = real & (best != blank)
    starts[1:] &= best[1:] != best[:-1]
    return [best[starts[:, n], n].tolist() for n in range(batch)]
