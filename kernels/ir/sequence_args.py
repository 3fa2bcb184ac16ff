"""The arguments of a sequence: inputs, weights, initial states and lengths of one layer and direction."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .program import Step

Array = Any
"""An array; or a tensor, when a sequence is unrolled on the tape."""


WEIGHT_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
"""The weights that every cell may have, in their order. A cell's own parameters come after them."""


@dataclass
class SequenceArgs:
    """The arguments of a sequence driver, and, with the same fields, their cotangents.

    Dimensions: T time, N batch, I input, H hidden, P width of h (H, or the projection's), Gx and Gh the
    numbers of the step's input_gates and recurrent_gates.

    x [T, N, I]; weight_ih [Gx H, I]; weight_hh [Gh H, P], None without recurrent gates; bias_ih [Gx H] and
    bias_hh [Gh H], or None; weight_hr [P, H], the projection of h, or None; params: name -> [H];
    inputs: name -> [T, N, H]; initial: an array for each state, [N, P] for h and [N, H] for the others;
    lengths [N], each from 0 to T, None if all are T; reverse: scan each sequence from its last step to its first.
    """

    x: Array
    weight_ih: Array
    weight_hh: Array | None = None
    bias_ih: Array | None = None
    bias_hh: Array | None = None
    weight_hr: Array | None = None
    params: Mapping[str, Array] = field(default_factory=dict)
    inputs: Mapping[str, Array] = field(default_factory=dict)
    initial: Sequence[Array] = ()
    lengths: np.ndarray | None = None
    reverse: bool = False

    def arrays(self) -> list[Array | None]:
        """x, the weights in the order of WEIGHT_NAMES, params, inputs and initial states."""
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr
        return [self.x, *weights, *self.params.values(), *self.inputs.values(), *self.initial]

    def in_step_order(self, x: Array) -> Array:
        """Return x [T, N, ...] with each sequence in the order of its scan. Applied twice it gives x again."""
        if not self.reverse:
            return x
        if self.lengths is None:
            return x[::-1]
        t = np.arange(len(x))[:, None]
        return x[np.where(t < self.lengths, self.lengths - 1 - t, t), np.arange(x.shape[1])]

    def rows(self, t: int) -> slice | np.ndarray:
        """Return the rows of the batch that have a step t: all as a slice, which copies nothing, or a mask."""
        if self.lengths is None or t < self.lengths.min(initial=t + 1):
            return slice(None)
        return self.lengths > t


Sizes = tuple[int, int, int, int, int]
"""T, N, I, H and P."""


@functools.lru_cache(1024)
def sizes_of(step: Step, given: tuple[tuple[int, ...] | None, ...]) -> Sizes:
    """Return the sizes that the shapes of arrays imply. given: shapes in the order of `SequenceArgs.arrays`, or None.

    Raise ValueError, with the name of the array, if the shapes do not fit each other or the step. The shape of an input
    per step or of an initial state may be None if it is not known yet.
    """
    x, weight_ih, _, _, _, weight_hr, *rest = given
    if x is None or len(x) != 3 or weight_ih is None or len(weight_ih) != 2:
        raise ValueError(f"{step.name}: expected x [T, N, I] and weight_ih [G H, I], got shapes {x} and {weight_ih}")
    if weight_hr is not None and len(weight_hr) != 2:
        raise ValueError(f"{step.name}: weight_hr: expected shape [P, H], got {weight_hr}")
    if len(rest) != len(step.params) + len(step.inputs) + len(step.states):
        named = [*step.params, *step.inputs, *step.states]
        raise ValueError(f"{step.name}: expected an array for each of {named}, got {len(rest)}")
    (T, N, I), H = x, weight_ih[0] // len(step.input_gates)
    P = H if weight_hr is None else weight_hr[0]
    x_rows, h_rows = len(step.input_gates) * H, len(step.recurrent_gates) * H
    expected = {"x": (T, N, I), "weight_ih": (x_rows, I), "weight_hh": (h_rows, P), "bias_ih": (x_rows,)}
    expected |= {"bias_hh": (h_rows,), "weight_hr": (P, H)}
    expected |= {f"parameter {name}": (H,) for name in step.params}
    expected |= {f"input {name}": (T, N, H) for name in step.inputs}
    expected |= {f"initial {name}": (N, H if i else P) for i, name in enumerate(step.states)}
    for (name, shape), found in zip(expected.items(), given):
        absent = found is None and name == "weight_hh" and h_rows
        if found is not None and found != shape or absent:
            raise ValueError(f"{step.name}: {name}: expected shape {shape}, as x and weight_ih have it, got {found}")
    return T, N, I, H, P


def check(step: Step, seq: SequenceArgs, x: tuple[int, ...] | None = None) -> None:
    """Raise ValueError or TypeError unless the arrays of a sequence fit each other: the check before any kernel.

    The shapes must fit, all arrays must have the dtype and the library of x, and lengths must be within T.
    x: the shape of x, if another scan computes x and the sequence has none yet.
    """
    arrays = seq.arrays()
    like = seq.weight_ih if seq.x is None else seq.x
    shapes = [None if a is None else a.shape for a in arrays]
    sizes = sizes_of(step, tuple(shapes if x is None else [x, *shapes[1:]]))
    for i, a in enumerate(arrays):
        if a is not None and (a.dtype != like.dtype or type(a) is not type(like)):
            name = ["x", *WEIGHT_NAMES, *step.params, *step.inputs, *step.states][i]
            got = a.dtype if a.dtype != like.dtype else f"an array of {type(a).__module__}"
            raise TypeError(f"{step.name}: {name}: expected {like.dtype} as x is, got {got}")
    lengths = seq.lengths
    if lengths is not None and (
        lengths.shape != (sizes[1],) or lengths.size and not 0 <= lengths.min() <= lengths.max() <= sizes[0]
    ):
        raise ValueError(f"{step.name}: lengths: expected {sizes[1]} numbers from 0 to {sizes[0]}, got {lengths}")
