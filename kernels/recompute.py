"""A sequence driver for very long sequences: it saves only the states between pieces and computes the rest again.

The forward saves the states between pieces of `every` steps. The backward runs each piece's forward once more, from the
last piece to the first. That costs a third more arithmetic. It needs memory for the saved activations of one piece only
(Chen, Xu, Zhang and Guestrin, Training deep nets with sublinear memory cost, 2016, section 4, with pieces of one size).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .driver import Driver
from .ir.program import Step
from .ir.sequence_args import WEIGHT_NAMES, SequenceArgs

Array = Any


@dataclass
class Recompute:
    """Wraps a driver and has the interface of one. every: the steps of a piece."""

    driver: Driver
    every: int
    runs_together: bool = False

    def _pieces(self, seq: SequenceArgs) -> list[slice]:
        """Return the pieces of time, in the order of the scan."""
        starts = range(0, len(seq.x), self.every)
        pieces = [slice(a, min(a + self.every, len(seq.x))) for a in starts]
        return pieces[::-1] if seq.reverse else pieces

    def forward(self, step: Step, seq: SequenceArgs, keep: bool) -> tuple[list[Array], list[Array], Any]:
        """See `kernels.driver.Driver`. keep: return the sequence of every state."""
        states: list[Array] = list(seq.initial)
        before, found = [], {}
        for piece in self._pieces(seq):
            before.append(states)
            outputs, states, _ = self.driver.forward(step, _part(seq, piece, states), keep)
            found[piece.start] = outputs
        joined = [np.concatenate(parts) for parts in zip(*(found[start] for start in sorted(found)))]
        return joined, states, before

    def backward(
        self,
        step: Step,
        seq: SequenceArgs,
        saved: list[list[Array]],
        d_outputs: Sequence[Array | None],
        d_final: Sequence[Array | None],
        wants_x: bool = True,
        wants_initial: bool = True,
    ) -> SequenceArgs:
        """See `kernels.driver.Driver`."""
        carry, total = list(d_final), None
        d_x = np.empty_like(seq.x) if wants_x else None
        d_inputs = {name: np.empty_like(e) for name, e in seq.inputs.items()}
        for piece, states in zip(reversed(self._pieces(seq)), reversed(saved)):
            part = _part(seq, piece, states)
            _, _, activations = self.driver.forward(step, part, True)
            d_out = [None if d is None else d[piece] for d in d_outputs]
            found = self.driver.backward(step, part, activations, d_out, carry, wants_x, True)
            carry = list(found.initial)
            if d_x is not None:
                d_x[piece] = found.x
            for name, d in found.inputs.items():
                d_inputs[name][piece] = d
            total = found if total is None else _sum(total, found)
        assert total is not None
        return replace(total, x=d_x, inputs=d_inputs, initial=tuple(carry), lengths=seq.lengths)


def _part(seq: SequenceArgs, piece: slice, states: list[Array]) -> SequenceArgs:
    """Return a piece of a sequence that begins with the states before it."""
    lengths = None if seq.lengths is None else np.clip(seq.lengths - piece.start, 0, piece.stop - piece.start)
    inputs = {name: e[piece] for name, e in seq.inputs.items()}
    return replace(seq, x=seq.x[piece], inputs=inputs, initial=tuple(states), lengths=lengths)


def _sum(a: SequenceArgs, b: SequenceArgs) -> SequenceArgs:
    """Return the sums of the cotangents of weights and parameters."""
    weights: dict[str, Any] = {
        name: None if getattr(a, name) is None else getattr(a, name) + getattr(b, name) for name in WEIGHT_NAMES
    }
    return replace(a, **weights, params={name: p + b.params[name] for name, p in a.params.items()})
