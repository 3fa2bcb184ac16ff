"""What a step is run over: a Sequence of inputs with the weights of one layer and direction."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = Any
"""An array; or, where a sequence is unrolled on the tape, a tensor."""


WEIGHT_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
"""The weights that every cell may have, in their order; a cell's own parameters come after them."""


@dataclass
class Sequence:
    """The arguments of a sequence driver, and, with the same fields, their cotangents.

    Dimensions: T time, N batch, I input, H hidden, P width of h (H, or the projection's), Gx and Gh the
    numbers of the step's input_gates and recurrent_gates.

    x [T, N, I]; weight_ih [Gx H, I]; weight_hh [Gh H, P], None without recurrent gates; bias_ih [Gx H] and
    bias_hh [Gh H], or None; weight_hr [P, H], the projection of h, or None; params: name -> [H];
    inputs: name -> [T, N, H]; initial: a state each, [N, P] for h and [N, H] for the others;
    lengths [N], each from 0 to T, None where all are T; reverse: from a sequence's last step to its first.
    """

    x: Array
    weight_ih: Array
    weight_hh: Array | None = None
    bias_ih: Array | None = None
    bias_hh: Array | None = None
    weight_hr: Array | None = None
    params: Mapping[str, Array] = field(default_factory=dict)
    inputs: Mapping[str, Array] = field(default_factory=dict)
    initial: Ordered[Array] = ()
    lengths: np.ndarray | None = None
    reverse: bool = False

    def in_step_order(self, x: Array) -> Array:
        """x [T, N, ...] with each sequence in the order in which it is walked; done twice it is x again."""
        if not self.reverse:
            return x
        if self.lengths is None:
            return x[::-1]
        t = np.arange(len(x))[:, None]
        return x[np.where(t < self.lengths, self.lengths - 1 - t, t), np.arange(x.shape[1])]

    def rows(self, t: int) -> slice | np.ndarray:
        """The rows of the batch that have a step t: all as a slice, which copies nothing, or a mask."""
        if self.lengths is None or t < self.lengths.min(initial=t + 1):
            return slice(None)
        return self.lengths > t
