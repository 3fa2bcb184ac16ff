"""A cell explained: the Programs traced from its equations, printed as equations again."""

from __future__ import annotations

from collections.abc import Iterator

from ..kernels.ir.equations import equations
from ..kernels.ir.program import Kind, Step, Value
from .decorator import Cell, find_cell
from .trace import trace


def explain(cell: str | Cell, code: bool = False) -> str:
    """Return a cell's equations, the adjoint that the tape derived, the activations saved for it, and a step's cost.

    cell: a function under `@cell`, or a built-in's name. Names: x.g and h.g are the input's and the recurrent part of
    gate g's pre-activation, s' a state after the step, d(v) the cotangent of v; a value that is used more than once has
    a name v1, v2, ... U_g(v) is v times the recurrent weights of gate g (and its bias), U_g^T(v) the other way.
    code: also the Python text that the CPU's recurrent loops are built from, for this host and float32.
    """
    found = find_cell(cell)
    text = "\n".join(_lines(found, trace(found)))
    return f"{text}\n\n{_code(trace(found))}" if code else text


def _code(step: Step) -> str:
    from ..kernels.cpu.codegen.recurrence import source
    from ..kernels.cpu.runtime.host import vector_unit

    return source(step, False, vector_unit(), 32)[0]


def _lines(cell: Cell, step: Step) -> Iterator[str]:
    yield f"{cell.name}: gates {', '.join(step.gates)}; states {', '.join(step.states)}"
    if cell.__doc__:
        yield cell.__doc__.strip().splitlines()[0]
    yield ""
    yield "forward"
    yield from (f"    {line}" for line in equations(step.forward, _name, _output))
    yield ""
    yield "backward, as the tape derived it"
    yield from (f"    {line}" for line in equations(step.backward, _name, _cotangent))
    yield ""
    ops = [sum(not op.is_product for op in program.ops) for program in (step.forward, step.backward)]
    count, x, recurrent = len(step.saved), 2 * len(step.input_gates), 2 * len(step.recurrent_gates)
    yield f"saved for the backward: {count} numbers a unit and step, {4 * count} bytes in float32;"
    yield f"    the states ({', '.join(step.states)}) are saved as well"
    yield f"pointwise work: {ops[0]} operations a unit and step forward, {ops[1]} backward"
    yield f"products: {recurrent} H flops a unit and step for h, {x} I for x; twice that backward"


def _name(value: Value) -> str:
    """Return a value's name in the printed equations."""
    match value.kind:
        case Kind.STATE:
            return value.name
        case Kind.NEW_STATE:
            return f"{value.name}'"
        case Kind.COTANGENT:
            return f"d({value.name}')"
        case Kind.SAVED:
            return f"saved{value.name}"
    return str(value)


def _output(value: Value) -> str | None:
    """Return the left side of a forward equation. The source of a further product stands in that product."""
    return None if value.kind is Kind.SOURCE else _name(value)


def _cotangent(value: Value) -> str | None:
    """Return the left side of a backward equation."""
    return None if value.kind is Kind.SOURCE else f"d({_name(value)})"
