"""From a cell's equations to its Programs: the equations run once on the tape, with symbols in place of arrays.

A `Symbol` stands for a value of the step. Where a primitive is given one, it writes down an operation instead of
computing; so the equations write down the forward, and the tape's own walk, which only ever calls primitives and
operators, writes down the adjoint. No derivative of a cell is written by hand anywhere.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..arrays.random import get_rng_state
from ..autograd import tape
from ..autograd.anomaly import unwatched
from ..autograd.primitive import PrimitiveDef, primitive
from ..kernels.ir.operations import OPERATIONS
from ..kernels.ir.program import (
    Constant,
    Op,
    Program,
    Ref,
    Step,
)
from ..tensor import Tensor
from .decorator import Cell, Gate

_CONDITIONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not"})


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
    """The operations written down so far, each once: equal operations on equal values are one value."""

    def __init__(self, name: str):
        self.name = name  # of what is traced, for errors
        self.inputs: list[str] = []
        self.ops: dict[int, Op] = {}
        self.known: dict[Op, int] = {}
        self.zeros: dict[Ref, Tensor] = {}  # what is added to each further product

    def input(self, name: str) -> Symbol:
        """A new value from outside."""
        self.inputs.append(name)
        return Symbol(self, len(self.inputs) - 1)

    def apply(self, name: str, args: list[Any]) -> Symbol:
        """Write an operation down, or refuse it by name."""
        if name == "clip":
            return self._clip(*args)
        if name in ("product", "product_t"):
            return self._emit(Op(name, (args[0].ref,), args[1]))
        if name == "isfinite":
            return self.apply("lt", [self.apply("abs", args), math.inf])
        if name == "cast":
            said = "expected numbers of the layer's dtype: for a condition's write where(condition, 1.0, 0.0)"
            raise TypeError(f"{self.name}: cast: {said}")
        if name not in OPERATIONS:
            raise TypeError(
                f"{self.name}: {name}: expected an operation on each unit by itself: {', '.join(OPERATIONS)}"
            )
        refs = tuple(self._ref(name, a) for a in args)
        for i, ref in enumerate(refs):
            self._check_kind(name, ref, condition=name.startswith("logical") or name == "where" and i == 0)
        return self._emit(_simplified(Op(name, refs)))

    def is_condition(self, ref: Ref) -> bool:
        """Whether a value is true or false, and not a number."""
        return not isinstance(ref, Constant) and ref in self.ops and self.ops[ref].name in _CONDITIONS

    def _check_kind(self, name: str, ref: Ref, condition: bool) -> None:
        """Refuse a number where a condition belongs and the reverse: compiled code keeps them apart."""
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
        """A gate's recurrent weights on another vector than h.

        A zero of its own is added to each product, however often the equations ask for it: the cotangent of
        that zero is the product's, which the gradient of the weights is made of.
        """
        if not isinstance(v, Tensor) or not isinstance(v.array, Symbol):
            raise TypeError(
                f"{self.name}: {gate}.of: expected a vector computed from states, gates, params or inputs, "
                f"got {type(v.array if isinstance(v, Tensor) else v).__name__}"
            )
        out = _product(v, gate)
        zero = Symbol(self, Constant(0.0))
        return out + self.zeros.setdefault(out.array.ref, Tensor(zero, tape.leaf(zero)))

    def state(self, name: str, value: Any) -> Ref:
        """What a state is after the step."""
        ref = self._ref(f"state {name}", value)
        self._check_kind(f"state {name}", ref, condition=False)
        return ref

    def _clip(self, x: Symbol, low: float | None, high: float | None) -> Symbol:
        x = x if low is None else self.apply("maximum", [x, low])
        return x if high is None else self.apply("minimum", [x, high])

    def needed(self, refs: Iterable[Ref], stop: frozenset[int] = frozenset()) -> list[int]:
        """The operations that values are computed from, oldest first, not going past those in `stop`."""
        found: set[int] = set()
        stack = [r for r in refs if type(r) is int]
        while stack:
            ref = stack.pop()
            if ref in self.ops and ref not in found and ref not in stop:
                found.add(ref)
                stack += [a for a in self.ops[ref].args if type(a) is int]
        return sorted(found)

    def program(self, sources: dict[int, str], outputs: dict[str, Ref], stop: frozenset[int] = frozenset()) -> Program:
        """The operations that the outputs need, from values that are given: number -> name."""
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
    """An operation as a simpler one, or as the value it is known to have."""
    zero, one = Constant(0.0), Constant(1.0)
    numbers = [a.value for a in op.args if isinstance(a, Constant)]
    if len(numbers) == len(op.args):
        return Constant(float(OPERATIONS[op.name](*map(np.float64, numbers))))
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


def trace_elementwise(
    name: str, equations: Callable[[dict[str, Symbol]], Mapping[str, Any]], inputs: Iterable[str]
) -> Program:
    """Equations that hold for each element by itself, as a Program: from named values to named results.

    name: of what is traced, for errors: TypeError names the operation that is not for one element.
    """
    graph = Graph(name)
    given = {n: graph.input(n) for n in inputs}
    results = {n: graph.state(n, value) for n, value in equations(given).items()}
    return graph.program(dict(enumerate(graph.inputs)), results)


_steps: weakref.WeakValueDictionary[tuple[Any, ...], Step] = weakref.WeakValueDictionary()


def trace(cell: Cell) -> Step:
    """The Step of a cell: its equations, and the adjoint that the tape derives from them.

    Cells of one name and the same equations have one Step, and so share all that is compiled and recorded for it,
    however often a loop defines them. Raises TypeError naming the operation where the equations do what a step cannot.
    """
    if cell.traced is None:
        step = _traced(cell)
        cell.traced = _steps.setdefault(tuple(getattr(step, f.name) for f in fields(step)), step)
    return cell.traced


def _traced(cell: Cell) -> Step:
    graph = Graph(f"cell {cell.name}")
    groups = (("x.", cell.gates), ("h.", cell.gates), ("s.", cell.states), ("p.", cell.params), ("e.", cell.inputs))
    names = [prefix + name for prefix, group in groups for name in group]
    symbols = {name: graph.input(name) for name in names}
    given = {name: Tensor(symbol, tape.leaf(symbol)) for name, symbol in symbols.items()}
    cotangents = [graph.input("d." + state) for state in cell.states]

    s, p, e = ({n: given[prefix + n] for n in group} for prefix, group in groups[2:])
    with tape.enable_grad(), unwatched():
        a = {g: Gate(given["x." + g], given["h." + g], functools.partial(graph.product, g)) for g in cell.gates}
        new = _new_states(cell, a, s, p, e)
        forward = {name: graph.state(name, state.array) for name, state in zip(cell.states, new)}
        products = [ref for ref in graph.needed(forward.values()) if ref in graph.zeros]
        leaves = {name: box.node for name, box in given.items()}
        leaves |= {f"v.{j}": graph.zeros[ref].node for j, ref in enumerate(products)}
        roots = [(state.node, d) for state, d in zip(new, cotangents) if state.node is not None]
        found = tape.backward_pass(roots, list(leaves.values()))

    forward |= {f"v.{j}": graph.ops[ref].args[0] for j, ref in enumerate(products)}
    backward = {name: found[node].ref for name, node in leaves.items() if node in found}
    return _split(cell, graph, forward, backward)


def _new_states(cell: Cell, *named: dict[str, Any]) -> tuple[Any, ...]:
    """The states that the equations return for symbols; what goes wrong in them is said to come from the cell."""
    drawn = get_rng_state()
    try:
        new = cell(*named)
        if get_rng_state() != drawn:
            raise TypeError(
                f"cell {cell.name}: expected equations that draw no random numbers, as they are traced once: "
                "draw masks outside and name them among the cell's inputs"
            )
    except Exception as error:
        found = _named(cell, error)
        found.add_note(
            f"While cell {cell.name} was traced: its equations are those of one unit, of shape (); an array belongs "
            "among the cell's params or inputs."
        )
        if found is error:
            raise
        raise found from error
    return new


def _named(cell: Cell, error: Exception) -> Exception:
    """The error of equations, as a TypeError that names the cell where they asked for what only an array has."""
    said = str(error)
    if isinstance(error, AttributeError) and said.startswith("cell "):
        return TypeError(said)
    if said.startswith("cell") or not _is_about_arrays(error):
        return error
    return TypeError(
        f"cell {cell.name}: expected arithmetic and elementwise functions of tinygrad_rnn, of each unit by itself "
        f"(a product with a gate's recurrent weights is a.{cell.gates[0]}.recurrent(v)), "
        f"got {type(error).__name__}: {said}"
    )


def _is_about_arrays(error: Exception) -> bool:
    """Whether equations have failed as they asked for what only an array has: an axis, a shape, a matrix product.

    A ValueError is one if it comes from this package and not from the equations themselves.
    """
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    package = __name__.partition(".")[0]
    ours = at is not None and at.tb_frame.f_globals.get("__name__", "").partition(".")[0] == package
    return isinstance(error, (AttributeError, IndexError, TypeError)) or isinstance(error, ValueError) and ours


def _split(cell: Cell, graph: Graph, forward: dict[str, Ref], backward: dict[str, Ref]) -> Step:
    """One graph as two Programs, with the values that pass from the forward to the backward kept."""
    ahead = graph.needed(forward.values())
    always = {i: name for i, name in enumerate(graph.inputs) if name[0] in "sped"}
    behind = graph.needed(backward.values(), frozenset(ahead))
    read = {a for r in behind for a in graph.ops[r].args} | set(backward.values())
    kept = sorted(r for r in read if type(r) is int and r not in behind and r not in always)
    forward = forward | {f"k.{i}": ref for i, ref in enumerate(kept)}
    inputs = dict(enumerate(graph.inputs))
    ahead_program = graph.program(inputs, forward)
    behind_program = graph.program(always | {ref: f"k.{i}" for i, ref in enumerate(kept)}, backward, frozenset(kept))

    gates_of = lambda prefix: tuple(g for g in cell.gates if prefix + g in ahead_program.inputs)
    if not gates_of("x."):
        raise TypeError(f"cell {cell.name}: expected equations that use the input's part of some gate, got none")
    products = tuple(op.gate for op in ahead_program.ops if op.name == "product")
    return Step(
        name=cell.name,
        gates=cell.gates,
        states=cell.states,
        params=cell.params,
        inputs=cell.inputs,
        input_gates=gates_of("x."),
        recurrent_gates=tuple(g for g in cell.gates if "h." + g in ahead_program.inputs or g in products),
        direct_gates=gates_of("h."),
        products=products,
        forward=ahead_program,
        backward=behind_program,
    )
