"""From a cell's equations to its Programs: the equations run once on the tape, with symbols in place of arrays.

The equations, run on symbols, write down the forward. The tape's own backward pass calls only primitives and operators,
so it writes down the adjoint in the same way. No derivative of a cell is written by hand anywhere.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from ..arrays.random import get_rng_state
from ..autograd import tape
from ..autograd.anomaly import unwatched
from ..autograd.grad_modes import enable_grad
from ..kernels.ir.program import Kind, Program, Ref, Step, Value
from ..tensor import Tensor
from .decorator import Cell, Gate
from .symbol import Graph, Symbol


def trace_elementwise(
    name: str, equations: Callable[[dict[str, Symbol]], Mapping[str, Any]], inputs: Iterable[str]
) -> Program[str]:
    """Return equations that hold for each element by itself as a Program, from named values to named results.

    name: what errors call the equations. Raise TypeError, with the operation's name, if one needs several elements.
    """
    graph = Graph(name)
    given = {n: graph.input(n) for n in inputs}
    results = {n: graph.state(n, value) for n, value in equations(given).items()}
    return graph.program(dict(enumerate(given)), results)


_steps: weakref.WeakValueDictionary[tuple[Any, ...], Step] = weakref.WeakValueDictionary()


def trace(cell: Cell) -> Step:
    """Return the Step of a cell: its equations, and the adjoint that the tape derives from them.

    Cells of one name with the same equations have one Step, however often a loop defines them. They share all compiled
    code and command lists. Raise TypeError, with the operation's name, if the equations do what a step cannot do.
    """
    if cell.traced is None:
        cell.traced = shared(_traced(cell))
    return cell.traced


def shared(step: Step) -> Step:
    """Return the one Step that all equal Steps share."""
    return _steps.setdefault(tuple(getattr(step, f.name) for f in fields(step)), step)


def trace_with_state_cotangents(cell: Cell, inputs: Mapping[str, str]) -> Step:
    """Return the Step of a cell with further inputs, whose cotangents are those of the states after the step.

    inputs: for each state the name of its input, which the equations do not read. The forward is the cell's own. A
    cotangent is the whole one: it comes from later steps, and from the other results of this step that the equations
    compute from the state.
    """
    return shared(replace(_traced(cell, inputs), inputs=(*cell.inputs, *inputs.values())))


def _traced(cell: Cell, observed: Mapping[str, str] | None = None) -> Step:
    graph = Graph(f"cell {cell.name}")
    leaves, sources = dict[Value, Any](), dict[int, Value]()

    def inputs(kind: Kind, names: Iterable[str]) -> dict[str, Tensor]:
        """Return a leaf of the tape for each name."""
        found = {}
        for value in (Value(kind, name) for name in names):
            sources[len(sources)], symbol = value, graph.input(value)
            found[value.name] = Tensor(symbol, tape.leaf(symbol))
            leaves[value] = found[value.name].node
        return found

    x, h = inputs(Kind.INPUT_PART, cell.gates), inputs(Kind.RECURRENT_PART, cell.gates)
    s, p, e = inputs(Kind.STATE, cell.states), inputs(Kind.PARAM, cell.params), inputs(Kind.INPUT, cell.inputs)
    cotangents = [Value(Kind.COTANGENT, state) for state in cell.states]
    seeds = [graph.input(value) for value in cotangents]
    sources |= dict(enumerate(cotangents, len(sources)))
    with enable_grad(), unwatched():
        a = {g: Gate(x[g], h[g], functools.partial(graph.product, g)) for g in cell.gates}
        new = _new_states(cell, a, s, p, e)
        forward = {Value(Kind.NEW_STATE, n): graph.state(n, state.array) for n, state in zip(cell.states, new)}
        refs = [ref for ref in graph.needed(forward.values()) if ref in graph.zeros]
        products = {Value(Kind.SOURCE, str(j)): ref for j, ref in enumerate(refs)}
        leaves |= {value: graph.zeros[ref].node for value, ref in products.items()}
        roots = [(state.node, seed) for state, seed in zip(new, seeds) if state.node is not None]
        targets = [*leaves.values(), *(node for node, _ in roots if observed)]
        found = tape.backward_pass(roots, targets)

    forward |= {value: graph.ops[ref].args[0] for value, ref in products.items()}
    backward = {value: found[node].ref for value, node in leaves.items() if node in found}
    for name, state, seed in zip(cell.states, new, seeds):
        if observed:
            # A state that passes through is a leaf. Its cotangent before the step is another one.
            computed = state.node is not None and state.node not in leaves.values()
            backward[Value(Kind.INPUT, observed[name])] = (found[state.node] if computed else seed).ref
    return _step(cell, graph, sources, forward, backward)


def _new_states(cell: Cell, *named: dict[str, Any]) -> tuple[Any, ...]:
    """Return the states that the equations compute from symbols. An error in them names the cell."""
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
    """Return an error of the equations; as a TypeError that names the cell, if they need what only an array has."""
    message = str(error)
    if isinstance(error, AttributeError) and message.startswith("cell "):
        return TypeError(message)
    if message.startswith("cell") or not _is_about_arrays(error):
        return error
    return TypeError(
        f"cell {cell.name}: expected arithmetic and elementwise functions of tinygrad_rnn, of each unit by itself "
        f"(a product with a gate's recurrent weights is a.{cell.gates[0]}.recurrent(v)), "
        f"got {type(error).__name__}: {message}"
    )


def _is_about_arrays(error: Exception) -> bool:
    """Return whether equations failed because they need what only an array has: an axis, a shape, a matrix product.

    A ValueError counts if it comes from this package and not from the equations themselves.
    """
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    package = __name__.partition(".")[0]
    ours = at is not None and at.tb_frame.f_globals.get("__name__", "").partition(".")[0] == package
    return isinstance(error, (AttributeError, IndexError, TypeError)) or isinstance(error, ValueError) and ours


def _step(
    cell: Cell, graph: Graph, sources: dict[int, Value], forward: dict[Value, Ref], backward: dict[Value, Ref]
) -> Step:
    """Return the Step of a traced graph.

    Its operations become two Programs. The forward saves the values that the backward reads and cannot be given.
    """
    ahead = graph.needed(forward.values())
    both = (Kind.STATE, Kind.PARAM, Kind.INPUT, Kind.COTANGENT)
    given = {ref: value for ref, value in sources.items() if value.kind in both}
    behind = graph.needed(backward.values(), frozenset(ahead))
    read = {a for r in behind for a in graph.ops[r].args} | set(backward.values())
    saved = sorted(r for r in read if type(r) is int and r not in behind and r not in given)
    names = {ref: Value(Kind.SAVED, str(i)) for i, ref in enumerate(saved)}
    forward_program = graph.program(sources, forward | {value: ref for ref, value in names.items()})
    backward_program = graph.program(given | names, backward, frozenset(saved))

    def gates_that_read(kind: Kind) -> tuple[str, ...]:
        return tuple(g for g in cell.gates if Value(kind, g) in forward_program.inputs)

    direct = gates_that_read(Kind.RECURRENT_PART)
    if not gates_that_read(Kind.INPUT_PART):
        raise TypeError(f"cell {cell.name}: expected equations that use the input's part of some gate, got none")
    products = tuple(op.gate for op in forward_program.ops if op.is_product)
    return Step(
        name=cell.name,
        gates=cell.gates,
        states=cell.states,
        params=cell.params,
        inputs=cell.inputs,
        input_gates=gates_that_read(Kind.INPUT_PART),
        recurrent_gates=tuple(g for g in cell.gates if g in direct or g in products),
        direct_gates=direct,
        products=products,
        forward=forward_program,
        backward=backward_program,
    )
