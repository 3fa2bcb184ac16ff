"""What became of a cell's equations: the Programs traced from them, written as equations again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..kernels.ir.program import (
    Constant,
    Op,
    Program,
    Ref,
    Step,
)
from .decorator import Cell, find_cell
from .trace import trace

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_SIGNS |= {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_STRENGTH = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}  # how tightly an operation binds
_ATOM = 9


def explain(cell: str | Cell, code: bool = False) -> str:
    """A cell's equations and its adjoint as the tape derived it, what is kept for the backward, and what a step costs.

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
    names = {f"k.{i}": f"kept{i}" for i in range(len(step.kept))}
    names |= {"d." + s: f"d({s}')" for s in step.states} | {"s." + s: s for s in step.states}
    yield f"{cell.name}: gates {', '.join(step.gates)}; states {', '.join(step.states)}"
    if cell.__doc__:
        yield cell.__doc__.strip().splitlines()[0]
    yield ""
    yield "forward"
    yield from _equations(step.forward, names | {s: s + "'" for s in step.states})
    yield ""
    yield "backward, as the tape derived it"
    yield from _equations(step.backward, names, adjoint=True)
    yield ""
    ops = [len(p.ops) - sum(bool(op.gate) for op in p.ops) for p in (step.forward, step.backward)]
    yield f"kept for the backward: {len(step.kept)} numbers a unit and step, {4 * len(step.kept)} bytes in float32,"
    yield f"    beside the states ({', '.join(step.states)})"
    yield f"pointwise work: {ops[0]} operations a unit and step forward, {ops[1]} backward"
    recurrent = len(step.recurrent_gates)
    x = 2 * len(step.input_gates)
    yield f"products: {2 * recurrent} H flops a unit and step for h, {x} I for x; twice that backward"


def _equations(program: Program, names: dict[str, str], adjoint: bool = False) -> Iterator[str]:
    """One line for each output, after one for each value that is used more than once."""
    n = len(program.inputs)
    uses = Counter(a for op in program.ops for a in op.args if isinstance(a, int))
    uses.update(ref for name, ref in program.outputs if isinstance(ref, int) and not name.startswith("k."))
    text: dict[int, tuple[str, int]] = {i: (names.get(name, name), _ATOM) for i, name in enumerate(program.inputs)}
    count = 0
    for k, op in enumerate(program.ops, n):
        written, strength = _expression(op, text)
        if uses[k] > 1 and strength < _ATOM or uses[k] > 1 and "(" in written:
            count += 1
            yield f"    v{count} = {written}"
            written, strength = f"v{count}", _ATOM
        text[k] = written, strength
    for name, ref in program.outputs:
        if name.startswith("v."):  # what a further product multiplies, or its cotangent: it stands in the product
            continue
        shown = names.get(name, name)
        yield f"    {f'd({shown})' if adjoint else shown} = {_value(ref, text)[0]}"


def _value(ref: Ref, text: dict[int, tuple[str, int]]) -> tuple[str, int]:
    return (f"{ref.value:g}", _ATOM) if isinstance(ref, Constant) else text[ref]


def _expression(op: Op, text: dict[int, tuple[str, int]]) -> tuple[str, int]:
    """An operation as it is written, and how tightly it binds."""
    args = [_value(a, text) for a in op.args]
    if op.gate:
        return f"U_{op.gate}{'^T' if op.name == 'product_t' else ''}({args[0][0]})", _ATOM
    own = _STRENGTH.get(op.name, 0)
    if op.name == "neg":
        return f"-{_in_brackets(args[0], own)}", own
    if op.name in _SIGNS:
        right = own + (op.name in ("sub", "div", "pow"))
        return f"{_in_brackets(args[0], own)} {_SIGNS[op.name]} {_in_brackets(args[1], right)}", own
    return f"{op.name}({', '.join(a for a, _ in args)})", _ATOM


def _in_brackets(written: tuple[str, int], least: int) -> str:
    return written[0] if written[1] >= least else f"({written[0]})"
