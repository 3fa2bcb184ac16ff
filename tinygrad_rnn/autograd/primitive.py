"""Primitives: a forward, and next to it the vector-Jacobian product (VJP) for each argument.

    mul = primitive("mul", lambda x, y: x * y,
                    lambda g, x, y: g * y,
                    lambda g, x, y: g * x)

A VJP takes the cotangent g of the result, then those arguments of the forward that it names, and `out`, the result, if
it names that.
A node saves only the values that the VJPs name. The VJPs of one primitive share one signature. They are written with
primitives and operators, so the same text works on

- arrays, in a plain backward: nothing is recorded, and NumPy computes (or the library of the arrays, if it answers to
  NumPy's dispatch, NEP 13, 18 and 35: CuPy on a GPU);
- tensors, under `create_graph=True`: the backward is recorded and can be differentiated again;
- symbols, when a cell is traced: a type with `__tape_primitive__` is handed the primitive's definition.

The arguments decide which: a primitive computes on arrays and records on tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import is_plain, operand
from ..arrays.error_state import DEFAULT, ignoring_errors
from ..arrays.error_state import state as error_state
from . import anomaly, views
from .anomaly import is_watching
from .grad_modes import recording
from .hooks import NodeExtras
from .promotion import (
    check_one_device,
    is_array,
    promote,
    promote_result,
    unshared_operand,
)
from .tape import Node

_ndarray = np.ndarray
_SCALARS = frozenset({float, int, bool})
_REFUSALS = (IndexError, ValueError, TypeError, OverflowError)  # how NumPy refuses arguments


class PrimitiveDef:
    """How a primitive is computed and differentiated; a `Node` points to it.

    arguments:       their names
    saved_positions: the positions in (out, *arguments) of the values that the VJPs name
    combined:        the one VJP for all arguments, `combined(needs, g, ...) -> a cotangent (or None) per argument`, or
                     None if each argument has its own in `vjps`
    unaliased:       whether the VJPs give arrays that nobody else holds, even if these are views
    add_into:        `add_into(total, g, ...)` adds what the one VJP would give to an array, in place; or None
    apply:           the primitive itself
    The other fields are arguments of `primitive`.
    """

    __slots__ = (
        "name", "forward", "vjps", "combined", "arguments", "saved_positions",
        "numeric", "expects", "unaliased", "add_into", "apply",
    )  # fmt: skip
    apply: Callable[..., Any]

    def __init__(
        self,
        name: str,
        forward: Callable,
        vjps: Sequence[Callable],
        combined: bool,
        numeric: bool,
        expects: str,
        unaliased: bool = False,
        arguments: Sequence[str] = (),
        add_into: Callable | None = None,
    ):
        self.name, self.forward, self.numeric, self.expects, self.unaliased = name, forward, numeric, expects, unaliased
        self.vjps, self.combined, self.add_into = tuple(vjps), vjps[0] if combined else None, add_into
        parameters = inspect.signature(forward).parameters.values()
        self.arguments = tuple(arguments) or tuple(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
        named: Sequence[str] = arguments
        if vjps and not arguments:
            named = list(inspect.signature(vjps[0]).parameters)[2 if combined else 1 :]
        positions = {"out": 0, **{name: i for i, name in enumerate(self.arguments, 1)}}
        self.saved_positions = tuple(positions[name] for name in named)

    def named(self, raw: Sequence[Any]) -> list[tuple[str, Any]]:
        """Return arguments with their names, for an error message."""
        names = [*self.arguments, *(f"argument {i}" for i in range(len(self.arguments), len(raw)))]
        return list(zip(names, raw))

    def described(self, raw: Sequence[Any]) -> str:
        """Return arguments in words: the shapes of arrays, the values of static arguments."""
        return ", ".join(
            f"{name} of shape {a.shape}" if hasattr(a, "shape") else f"{name} = {a!r}" for name, a in self.named(raw)
        )


def primitive(
    name: str,
    forward: Callable,
    *vjps: Callable,
    combined: bool = False,
    numeric: bool = False,
    floats: bool = False,
    unaliased: bool = False,
    view: bool = False,
    expects: str = "arguments that fit each other",
    arguments: Sequence[str] = (),
    add_into: Callable | None = None,
) -> Callable[..., Any]:
    """Make a primitive; see the head of this file.

    forward: takes arrays and static arguments, by position; returns an array, or a tuple of arrays.
    vjps: one for each leading argument, or with `combined` one for all; none for what has no gradient.
    numeric: all arguments are numbers and share one dtype (bool goes with any); otherwise only the
        floating ones must agree.
    floats: the result is floating; integers and booleans are taken as float32.
    unaliased: the VJPs give arrays that nobody else holds. For NumPy's own arrays the tape sees that by itself.
    view: the result may be a view of the first argument, and a write into it reaches that argument (`views.py`).
    expects: how an error describes the arguments that the forward takes; "": the forward's own error is raised.
    arguments: their names, for a forward of `*arguments`; the VJP is given all of them.
    add_into: `add_into(total, g, ...)` adds what the VJP of the first argument, the only one, gives to an array in
        place, for a VJP that is mostly zeros.
    """
    definition = PrimitiveDef(name, forward, vjps, combined, numeric, expects, unaliased, arguments, add_into)

    def apply(*args: Any) -> Any:
        for a in args:
            if isinstance(a, Box):
                break
        else:
            return _compute_bare(definition, args) if numeric else compute(definition, args)
        raw: list[Any] = []
        parents: list[Node | None] = []
        recorded = differ = False
        dtype: Any = None
        for a in args:
            if isinstance(a, Box):
                data = a.array
                node = a.node
                if dtype is None:
                    dtype = data.dtype
                elif data.dtype is not dtype:
                    differ = True
                if node is not None:
                    recorded = True
                raw.append(data)
                parents.append(node)
            else:
                if numeric and type(a) not in _SCALARS:
                    differ = True
                    a = unshared_operand(name, a)
                raw.append(a)
                parents.append(None)
        if differ:
            promote(definition, raw)
        if floats and dtype.kind != "f":
            raw = [a.astype(np.float32) if is_array(a) else a for a in raw]
        out = compute(definition, raw)
        if type(out) is not _ndarray or out.dtype is not dtype:
            out = promote_result(definition, out, raw)
        if is_watching():
            anomaly.check_forward(name, out, raw)
        if recorded and vjps and recording():
            return _record(definition, parents, raw, out)
        if view:
            return views.remember(definition, args[0], raw, out)
        return boxed(out) if type(out) is not tuple else tuple(map(boxed, out))

    apply.__name__ = apply.__qualname__ = name
    apply.definition = definition  # type: ignore[attr-defined]
    definition.apply = apply
    return apply


def _compute_bare(definition: PrimitiveDef, args: Sequence[Any]) -> Any:
    """Compute the forward on numbers and NumPy's arrays: an array. On other libraries' arrays, or lists: a tensor."""
    for a in args:
        if type(a) not in _SCALARS and not is_plain(a):
            break
    else:
        return compute(definition, args)
    opened = [a if type(a) in _SCALARS else operand(definition.name, a) for a in args]
    return definition.apply(*opened) if any(isinstance(a, Box) for a in opened) else compute(definition, opened)


def compute(definition: PrimitiveDef, raw: Sequence[Any]) -> Any:
    """Compute the forward on arrays and numbers, or hand it to a type with `__tape_primitive__`."""
    if type(raw[0]) is not _ndarray:
        for a in raw:
            handler = getattr(type(a), "__tape_primitive__", None)
            if handler is not None:
                return handler(definition, raw)
    try:
        return definition.forward(*raw) if error_state() is DEFAULT else ignoring_errors(definition.forward, *raw)
    except _REFUSALS as error:
        check_one_device(definition, raw)
        if not definition.expects:
            raise
        kind = next(k for k in _REFUSALS if isinstance(error, k))
        got = definition.described(raw)
        raise kind(f"{definition.name}: expected {definition.expects}, got {got} ({error})") from error


def _record(definition: PrimitiveDef, parents: list, raw: list, out: Any) -> Any:
    """Return the result as a box on the tape, with a new node that holds the values that the VJPs name."""
    positions = definition.saved_positions
    saved = tuple([out if k == 0 else raw[k - 1] for k in positions]) if positions else ()
    several = type(out) is tuple
    like = CotangentTuple if several else out
    node = Node(definition, parents, saved, like.shape, like.dtype)
    if is_watching():
        node.extras = NodeExtras(line=anomaly.user_line())
    if not several:
        return boxed(out, node)
    n = len(out)
    return tuple(boxed(o, Node(_ONE_OF, (node, None, None), (i, n), o.shape, o.dtype)) for i, o in enumerate(out))


class CotangentTuple:
    """The cotangent of a primitive with several results. `parts` has one for each, None where none arrived."""

    __slots__ = ("received", "count")
    shape = "tuple"  # of the node and of its cotangent alike: nothing is ever broadcast
    dtype = None

    def __init__(self, received: dict[int, Any], count: int):
        self.received, self.count = received, count

    @property
    def parts(self) -> tuple:
        return tuple(map(self.received.get, range(self.count)))

    def __add__(self, other: CotangentTuple) -> CotangentTuple:
        # In place, so that n results take n steps: each backward pass makes its own tuple, and each part comes once.
        self.received.update(other.received)
        return self


# The i-th of n results. Its cotangent becomes part i of the cotangent tuple of the node that gave them all.
_ONE_OF = PrimitiveDef("result", lambda x, i, n: x, (lambda g, i, n: CotangentTuple({i: g}, n),), False, False, "")
