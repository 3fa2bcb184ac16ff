"""The shapes and settings that a layer's command lists are built for, and the work that they mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ir.program import Step
from ..ir.sequence_args import sizes_of
from ..runtime.bounded import bounded
from .runtime.caches import caches
from .runtime.host import VectorUnit

FEW_ROWS = 4
"""A step of fewer rows, with weights beyond the second cache, takes as long as one of so many: reading them decides."""


class Work(NamedTuple):
    """The cost of a step of the forward: flops of one row's products, and the least rows to count (see FEW_ROWS)."""

    row: float
    least_rows: int


class Shapes(NamedTuple):
    """The shapes and settings that a command list is built for. P: width of h. ragged: rows have lengths."""

    step: Step
    unit: VectorUnit
    dtype: np.dtype
    T: int
    N: int
    I: int
    H: int
    P: int
    projected: bool
    bias_ih: bool
    bias_hh: bool
    ragged: bool
    reverse: bool

    @property
    def work(self) -> Work:
        """Return what the forward's products cost."""
        inner = len(self.step.recurrent_gates) * self.P
        weights = self.H * (len(self.step.input_gates) * self.I + inner)
        fits = weights * self.dtype.itemsize <= caches().second
        return Work(2.0 * weights, 1 if fits else FEW_ROWS)

    @property
    def flops(self) -> float:
        """Return the flops of the forward's products, or the flops that would take as long."""
        row, least_rows = self.work
        return row * self.T * max(self.N, least_rows)

    def width(self, state: int) -> int:
        """Return the width of a state, by its number."""
        return self.P if state == 0 else self.H


@bounded(1024)
def shapes_of(
    step: Step,
    unit: VectorUnit,
    dtype: np.dtype,
    given: tuple[tuple[int, ...] | None, ...],
    ragged: bool = False,
    reverse: bool = False,
) -> Shapes:
    """Return Shapes from the shapes of a step's arrays, which must fit each other: see `sequence_args.sizes_of`."""
    T, N, I, H, P = sizes_of(step, given)
    _, _, _, bias_ih, bias_hh, weight_hr, *_ = given
    flags = weight_hr is not None, bias_ih is not None, bias_hh is not None
    return Shapes(step, unit, dtype, T, N, I, H, P, *flags, ragged, reverse)
