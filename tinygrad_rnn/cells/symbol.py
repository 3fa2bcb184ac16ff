"""Symbols in place of arrays: what equations and the tape compute with while a cell is traced.

A `Symbol` stands for a value of the step. Where a primitive is given one, it writes an operation into the symbol's
`Graph` instead of computing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from ..autograd import tape
from ..autograd.primitive import PrimitiveDef, primitive
from ..kernels.ir.operations import OPERATIONS
from ..kernels.ir.program import Constant, Key, Op, Program, Ref
from ..tensor import Tensor


class Symbol:
    """A value of a step that is being traced: its number in the graph, or a constant."""

    __slots__ = ("graph", "ref")
    __array_ufunc__ = None  # NumPy leaves `array * symbol` to the symbol, which refuses it by name
    shape = ()
    ndim = 0

    def __init__(self, graph: Graph, ref: Ref):
        self.graph, self.ref = graph, ref

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("bool" if self.graph.is_condition(self.ref) else "float32")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{self.graph.name}: {name}: expected arithmetic and elementwise functions of tinygrad_rnn on a value, "
            "which is a symbol while a cell is traced, got what only an array has"
        )

    @property
    def size(self) -> int:
        raise TypeError(
            f"{self.graph.name}: expected equations for every value alike, got a branch on a value or a "
            "number asked for: write where(condition, x, y)"
        )

    @staticmethod
    def __tape_primitive__(definition: PrimitiveDef, args: list[Any]) -> Symbol:
        graph = next(a.graph for a in args if isinstance(a, Symbol))
        return graph.apply(definition.name, args)

    def __add__(self, other: Any) -> Symbol:
        return self.graph.apply("add", [self, other])

    def __radd__(self, other: Any) -> Symbol:
        return self.graph.apply("add", [other, self])

    def __sub__(self, other: Any) -> Symbol:
        return self.graph.apply("sub", [self, other])

    def __rsub__(self, other: Any) -> Symbol:
        return self.graph.apply("sub", [other, self])

    def __mul__(self, other: Any) -> Symbol:
        return self.graph.apply("mul", [self, other])

    def __rmul__(self, other: Any) -> Symbol:
        return self.graph.apply("mul", [other, self])

    def __truediv__(self, other: Any) -> Symbol:
        return self.graph.apply("div", [self, other])

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.graph.apply("div", [other, self])

    def __pow__(self, other: Any) -> Symbol:
        return self.graph.apply("pow", [self, other])

    def __neg__(self) -> Symbol:
        return self.graph.apply("neg", [self])

    def __gt__(self, other: Any) -> Symbol:
        return self.graph.apply("gt", [self, other])

    def __ge__(self, other: Any) -> Symbol:
        return self.graph.apply("ge", [self, other])

    def __lt__(self, other: Any) -> Symbol:
        return self.graph.apply("lt", [self, other])

    def __le__(self, other: Any) -> Symbol:
        return self.graph.apply("le", [self, other])


class Graph:
    """The operations written so far, each once: equal operations on equal values are one value."""

    def __init__(self, name: str):
        self.name = name  # of what is traced, for errors
        self.inputs: list[Hashable] = []
        self.ops: dict[int, Op] = {}
        self.known: dict[Op, int] = {}
        self.zeros: dict[Ref, Tensor] = {}  # the zero that is added to each further product

    def input(self, key: Hashable) -> Symbol:
        """Return a new value from outside."""
        self.inputs.append(key)
        return Symbol(self, len(self.inputs) - 1)

    def apply(self, name: str, args: list[Any]) -> Symbol:
        """Add an operation. Raise TypeError, with its name, for one that a step cannot have."""
        if name == "clip":
            return self._clip(*args)
        if name in ("product", "product_t"):
            return self._emit(Op(name, (args[0].ref,), args[1]))
        if name == "isfinite":
            return self.apply("lt", [self.apply("abs", args), math.inf])
        if name == "cast":
            expected = "expected numbers of the layer's dtype: for a condition's write where(condition, 1.0, 0.0)"
            raise TypeError(f"{self.name}: cast: {expected}")
        if name not in OPERATIONS:
            raise TypeError(
                f"{self.name}: {name}: expected an operation on each unit by itself: {', '.join(OPERATIONS)}"
            )
        refs = tuple(self._ref(name, a) for a in args)
        for i, ref in enumerate(refs):
            self._check_kind(name, ref, condition=i < OPERATIONS[name].condition_args)
        return self._emit(_simplified(Op(name, refs)))

    def is_condition(self, ref: Ref) -> bool:
        """Return whether a value is true or false, and not a number."""
        op = None if isinstance(ref, Constant) else self.ops.get(ref)
        return op is not None and not op.is_product and OPERATIONS[op.name].is_condition

    def _check_kind(self, name: str, ref: Ref, condition: bool) -> None:
        """Raise TypeError for a number in place of a condition, or the reverse: compiled code has a type for each."""
        if isinstance(ref, Constant):
            return
        if self.is_condition(ref) != condition:
            expected = (
                "a condition such as x > 0, got a number"
                if condition
                else ("numbers, got a condition: write where(condition, 1.0, 0.0)")
            )
            raise TypeError(f"{self.name}: {name}: expected {expected}")

    def _ref(self, name: str, a: Any) -> Ref:
        if isinstance(a, Symbol):
            return a.ref
        if isinstance(a, (bool, int, float, np.generic)):
            return Constant(float(a))
        raise TypeError(
            f"{self.name}: {name}: expected gates, states, params, inputs and numbers, "
            f"got {type(a).__name__}: name an array among the cell's params or inputs"
        )

    def _emit(self, op: Op | Ref) -> Symbol:
        if not isinstance(op, Op):
            return Symbol(self, op)
        if op not in self.known:
            # Inputs are all made before the first operation, so that numbers can be counted on from them.
            self.known[op] = ref = len(self.inputs) + len(self.ops)
            self.ops[ref] = op
        return Symbol(self, self.known[op])

    def product(self, gate: str, v: Any) -> Tensor:
        """Return the product of a gate's recurrent weights with another vector than h.

        Each product has one zero added to it, however often the equations ask for the product. The cotangent of that
        zero is the product's cotangent, from which the gradient of the weights is computed.
        """
        if not isinstance(v, Tensor) or not isinstance(v.array, Symbol):
            raise TypeError(
                f"{self.name}: {gate}.recurrent: expected a vector computed from states, gates, params or inputs, "
                f"got {type(v.array if isinstance(v, Tensor) else v).__name__}"
            )
        out = _product(v, gate)
        zero = Symbol(self, Constant(0.0))
        return out + self.zeros.setdefault(out.array.ref, Tensor(zero, tape.leaf(zero)))

    def state(self, name: str, value: Any) -> Ref:
        """Return the number of a state's value after the step, or of another result."""
        ref = self._ref(f"state {name}", value)
        self._check_kind(f"state {name}", ref, condition=False)
        return ref

    def _clip(self, x: Symbol, low: float | None, high: float | None) -> Symbol:
        x = x if low is None else self.apply("maximum", [x, low])
        return x if high is None else self.apply("minimum", [x, high])

    def needed(self, refs: Iterable[Ref], stop: frozenset[int] = frozenset()) -> list[int]:
        """Return the operations that values are computed from, oldest first. The search ends at those in `stop`."""
        found: set[int] = set()
        stack = [r for r in refs if type(r) is int]
        while stack:
            ref = stack.pop()
            if ref in self.ops and ref not in found and ref not in stop:
                found.add(ref)
                stack += [a for a in self.ops[ref].args if type(a) is int]
        return sorted(found)

    def program(
        self, sources: Mapping[int, Key], outputs: Mapping[Key, Ref], stop: frozenset[int] = frozenset()
    ) -> Program[Key]:
        """Return the operations that the outputs need, from given values: number -> key."""
        refs = self.needed(outputs.values(), stop)
        read = {a for r in refs for a in self.ops[r].args} | set(outputs.values())
        given = [ref for ref in sorted(sources) if ref in read and ref not in refs]
        number = {ref: i for i, ref in enumerate([*given, *refs])}
        renumbered = lambda ref: number[ref] if type(ref) is int else ref
        return Program(
            tuple(sources[ref] for ref in given),
            tuple(Op(op.name, tuple(map(renumbered, op.args)), op.gate) for op in (self.ops[ref] for ref in refs)),
            tuple((name, renumbered(ref)) for name, ref in outputs.items()),
        )


def _simplified(op: Op) -> Op | Ref:
    """Return an operation as a simpler one, or as the value that it is known to have."""
    zero, one = Constant(0.0), Constant(1.0)
    numbers = [a.value for a in op.args if isinstance(a, Constant)]
    if len(numbers) == len(op.args):
        return Constant(float(OPERATIONS[op.name].compute(*map(np.float64, numbers))))
    match op.name, op.args:
        case "add", (x, y) if x == zero or y == zero:
            return y if x == zero else x
        case "mul", (x, y) if x == one or y == one:
            return y if x == one else x
        case "sub", (x, y) if y == zero:
            return x
        case "div", (x, y) if y == one:
            return x
        case "pow", (x, y) if y == one:
            return x
        case "pow", (x, y) if y == Constant(2.0):
            return Op("mul", (x, x))
        case (("add" | "mul"), (x, y)) if repr(y) < repr(x):
            return Op(op.name, (y, x))  # one order, so that x + y and y + x are found equal
    return op


_product_t = primitive("product_t", lambda g, gate: None)
_product = primitive("product", lambda v, gate: None, lambda g, gate: _product_t(g, gate))
