"""A recurrent cell as data: the straight-line Programs of one step, forward and backward.

Nothing here knows how the Programs came about (`tinygrad_rnn/trace.py` traces them from a cell's equations)
or how they are run (`reference.py` interprets them; compilers turn them into code).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .operations import OPERATIONS


@dataclass(frozen=True, eq=False)
class Constant:
    """A number in a Program. A type of its own: as a float, 1.0 would equal the number of value 1.

    Two are equal if they are written alike: 0.0 and -0.0 are two, NaN is one.
    """

    value: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


Ref = int | Constant
"""A value in a Program: the number of an input or of an operation, or a constant."""


@dataclass(frozen=True)
class Op:
    """One operation. `name` is an entry of `pointwise.OPERATIONS`, or a matrix product of the step:

    "product":   gate's recurrent weights and bias on a vector, v U^T + b
    "product_t": the same weights the other way, for the backward, g U
    """

    name: str
    args: tuple[Ref, ...]
    gate: str = ""


@dataclass(frozen=True)
class Program:
    """Single-assignment operations: value k is input k, then the operations follow in order."""

    inputs: tuple[str, ...]
    ops: tuple[Op, ...]
    outputs: tuple[tuple[str, Ref], ...]

    def run(
        self, given: Mapping[str, Any], product: Callable[[Op, np.ndarray], np.ndarray] | None = None
    ) -> dict[str, Any]:
        """Compute all outputs with NumPy; `product` carries out a matrix product, where there are any."""
        values: list = [given[name] for name in self.inputs]
        number = np.result_type(*given.values()).type  # constants too are in the arrays' dtype
        value = lambda ref: number(ref.value) if isinstance(ref, Constant) else values[ref]
        for op in self.ops:
            args = [value(a) for a in op.args]
            values.append(product(op, args[0]) if op.gate and product else OPERATIONS[op.name](*args))
        return {name: value(ref) for name, ref in self.outputs}


@dataclass(frozen=True, eq=False)  # compared by identity, as it is looked up at every call
class Step:
    """One time step of a cell.

    Names of values, with g a gate, s a state, p a parameter per unit, e an input per step:
      x.g   the input's part of a pre-activation, W x + b_ih        h.g   the recurrent part, U h + b_hh
      s.s   a state before the step       p.p, e.e   as they are    v.j   what the j-th further product multiplies
      k.i   a value kept for the backward                           d.s   the cotangent of a state after the step

    forward:  x.*, h.*, s.*, p.*, e.* -> a state's name: its value after the step; k.*; v.*
    backward: k.*, s.*, p.*, e.*, d.* -> the cotangents of x.*, h.*, s.*, p.*, e.* under those names, and of the
              j-th product's result under v.j; one that no gradient reaches is left out

    The first state, h, is what the recurrent weights multiply. input_gates and recurrent_gates are those whose
    parts are read at all, in order: they are the blocks of rows of weight_ih and weight_hh.
    direct_gates read their recurrent part of h itself; products lists the gate of each further product.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    params: tuple[str, ...]
    inputs: tuple[str, ...]
    input_gates: tuple[str, ...]
    recurrent_gates: tuple[str, ...]
    direct_gates: tuple[str, ...]
    products: tuple[str, ...]
    forward: Program
    backward: Program

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the values that the forward keeps for the backward."""
        return tuple(name for name, _ in self.forward.outputs if name.startswith("k."))

    @property
    def reads_h(self) -> bool:
        """Whether the pointwise part reads the previous h, so that h must be as wide as the gates."""
        return "s." + self.states[0] in self.forward.inputs
