"""A recurrent cell as data: the straight-line Programs of one step, forward and backward.

This file depends neither on the origin of the Programs (`tinygrad_rnn/cells/trace.py` traces a cell's equations) nor on
their use (the reference driver interprets them; the compiled drivers turn them into code).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from .operations import OPERATIONS

Key = TypeVar("Key", bound=Hashable)
"""How a Program names its inputs and outputs: by a `Value` in a cell's step, by a plain string in an optimiser."""


class Kind(enum.Enum):
    """The kinds of a step's values. Listings print the text of a kind before the value's name, as in x.i or s.h."""

    # A Step's Programs read and write these.
    INPUT_PART = "x"  # of a gate: the input's part of the pre-activation, W x + b_ih
    RECURRENT_PART = "h"  # of a gate: the recurrent part of the pre-activation, U h + b_hh
    STATE = "s"  # a state before the step
    NEW_STATE = "new"  # a state after the step
    PARAM = "p"  # a parameter of the cell per hidden unit
    INPUT = "e"  # an input of the cell per step
    SOURCE = "v"  # the vector that further product number j multiplies
    SAVED = "k"  # an activation that the forward saves for the backward
    COTANGENT = "d"  # the cotangent of a state after the step

    # A Plan's stages read and write these as well.
    INPUT_BIAS = "bx"  # of a gate: b_ih
    RECURRENT_BIAS = "bh"  # of a gate: b_hh
    UNPROJECTED = "u"  # h before its projection
    PRODUCT = "m"  # a result of the stage's matrix products
    PASSED = "t"  # a value that one stage computes and a later stage of the same step reads
    OUTPUT_COTANGENT = "out"  # of a state: the cotangent of its sequence at this step
    CARRY = "carry"  # of a state: the cotangent that the next step hands to this step, and this one to the step before
    PARAM_SUM = "sum"  # of a parameter: its cotangent, added up over the steps
    INPUT_COTANGENT = "de"  # the cotangent of an input of the cell
    PRODUCT_COTANGENT = "dv"  # the cotangent of the result of further product number j
    PROJECTED_COTANGENT = "du"  # the cotangent of h after its projection
    LATER_COTANGENTS = "later"  # the next step's cotangents of the recurrent parts, all direct gates side by side

    __hash__ = object.__hash__  # Enum's own __hash__ runs Python code at each look-up


class Value(NamedTuple):
    """A named value of a step. name: of a gate, state, parameter or input, or a number."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}.{self.name}"

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, eq=False)
class Constant:
    """A number in a Program. As a float, 1.0 would equal the reference 1 to a value, so constants have their own type.

    Two constants are equal if their texts are: 0.0 and -0.0 differ, and NaN equals NaN.
    """

    value: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


Ref = int | Constant
"""A value in a Program: the number of an input or of an operation, or a constant."""

PRODUCTS = ("product", "product_t", "projection", "projection_t")
"""The matrix products that a step may contain, as well as pointwise operations; see `Op`."""


@dataclass(frozen=True)
class Op:
    """One operation. `name` is a key of `operations.OPERATIONS`, or one of PRODUCTS:

    "product":      a vector times a gate's recurrent weights, plus the bias: v U^T + b
    "product_t":    the backward of "product", with the same weights: g U
    "projection":   the projection of h: h weight_hr^T
    "projection_t": the backward of "projection": g weight_hr
    """

    name: str
    args: tuple[Ref, ...]
    gate: str = ""

    @property
    def is_product(self) -> bool:
        """Whether this is a matrix product instead of a pointwise operation."""
        return self.name in PRODUCTS


@dataclass(frozen=True)
class Program(Generic[Key]):
    """Single-assignment operations: value k is input k, then the operations follow in order."""

    inputs: tuple[Key, ...]
    ops: tuple[Op, ...]
    outputs: tuple[tuple[Key, Ref], ...]

    @property
    def keys(self) -> list[Key]:
        """The inputs, then the outputs."""
        return [*self.inputs, *(key for key, _ in self.outputs)]

    def run(
        self, given: Mapping[Key, Any], product: Callable[[Op, np.ndarray], np.ndarray] | None = None
    ) -> dict[Key, Any]:
        """Compute all outputs with NumPy. `product` computes the matrix products, if there are any."""
        values: list = [given[key] for key in self.inputs]
        number = np.result_type(*given.values()).type  # constants have the arrays' dtype, too
        value = lambda ref: number(ref.value) if isinstance(ref, Constant) else values[ref]
        for op in self.ops:
            args = [value(a) for a in op.args]
            if op.is_product and product is not None:
                values.append(product(op, args[0]))
            else:
                values.append(OPERATIONS[op.name].compute(*args))
        return {key: value(ref) for key, ref in self.outputs}


@dataclass(frozen=True, eq=False)  # compared by identity, as it is looked up at every call
class Step:
    """One time step of a cell, as two Programs over the Values of `Kind`.

    forward:  INPUT_PART, RECURRENT_PART, STATE, PARAM, INPUT -> NEW_STATE, SAVED, SOURCE
    backward: SAVED, STATE, PARAM, INPUT, COTANGENT -> the cotangents of INPUT_PART, RECURRENT_PART, STATE, PARAM and
              INPUT under the same Values, and of the result of further product j under its SOURCE. A value that no
              gradient reaches is left out.

    The recurrent weights multiply the first state, h. input_gates and recurrent_gates list, in order, the gates with an
    input part or a recurrent part that the equations read: they are the blocks of rows of weight_ih and weight_hh.
    direct_gates are the gates that multiply h itself. products lists the gate of each further product.
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
    forward: Program[Value]
    backward: Program[Value]

    @property
    def saved(self) -> tuple[Value, ...]:
        """The activations that the forward saves for the backward."""
        return tuple(value for value, _ in self.forward.outputs if value.kind is Kind.SAVED)

    @property
    def reads_h(self) -> bool:
        """Whether the pointwise part reads the previous h, so that h must be as wide as the gates."""
        return Value(Kind.STATE, self.states[0]) in self.forward.inputs
