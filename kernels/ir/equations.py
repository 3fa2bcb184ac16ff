"""A Program printed as equations, for people: in `explain`, and as comments in generated code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from .operations import OPERATIONS
from .program import Constant, Op, Program, Ref

_ATOM = 9  # the precedence of a name, a number or a call: it never needs brackets

Printed = tuple[str, int]
"""An expression's text, and the precedence of its outermost operation."""


def equations(
    program: Program[Any], name: Callable[[Any], str] = str, left: Callable[[Any], str | None] | None = None
) -> Iterator[str]:
    """Yield one line for each output, and one for each other expression that is used more than once.

    name: returns the text of an input. left: returns the text of an output, or None for one that is not printed; the
    default is `name`. A later line refers to an output by its name, and to another repeated expression as v1, v2, ...
    """
    n, left = len(program.inputs), left or name
    outputs = [(shown, ref) for key, ref in program.outputs if (shown := left(key)) is not None]
    output_of = {ref: shown for shown, ref in reversed(outputs)}
    uses = Counter(a for op in program.ops for a in op.args if isinstance(a, int))
    uses.update(ref for _, ref in outputs if isinstance(ref, int))
    text: dict[int, Printed] = {i: (name(key), _ATOM) for i, key in enumerate(program.inputs)}
    printed, repeated = set[str](), 0
    for k, op in enumerate(program.ops, n):
        text[k] = expression, precedence = _expression(op, text)
        if uses[k] > 1 and (precedence < _ATOM or "(" in expression):
            if k not in output_of:
                repeated += 1
            own = output_of.get(k, f"v{repeated}")
            yield f"{own} = {expression}"
            printed.add(own)
            text[k] = own, _ATOM
    for shown, ref in outputs:
        if shown not in printed:
            yield f"{shown} = {_value(ref, text)[0]}"


def _value(ref: Ref, text: dict[int, Printed]) -> Printed:
    return (f"{ref.value:g}", _ATOM) if isinstance(ref, Constant) else text[ref]


_PRODUCTS = {
    "product": "U_{gate}({v})",
    "product_t": "U_{gate}^T({v})",
    "projection": "W_hr({v})",
    "projection_t": "W_hr^T({v})",
}


def _expression(op: Op, text: dict[int, Printed]) -> Printed:
    args = [_value(a, text) for a in op.args]
    if op.is_product:
        return _PRODUCTS[op.name].format(gate=op.gate, v=args[0][0]), _ATOM
    operation = OPERATIONS[op.name]
    own = operation.precedence
    if op.name == "neg":
        return f"-{_bracketed(args[0], own)}", own
    if operation.sign:
        right = own + (op.name in ("sub", "div", "pow"))  # a - (b - c), but a + b + c
        return f"{_bracketed(args[0], own)} {operation.sign} {_bracketed(args[1], right)}", own
    return f"{op.name}({', '.join(a for a, _ in args)})", _ATOM


def _bracketed(printed: Printed, least: int) -> str:
    """Return an expression in brackets if it binds less tightly than `least`."""
    return printed[0] if printed[1] >= least else f"({printed[0]})"
