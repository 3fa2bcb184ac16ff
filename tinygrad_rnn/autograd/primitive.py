"""Primitives: a forward, and beside it the vector-Jacobian product (VJP) for each argument.

    mul = primitive("mul", lambda x, y: x * y,
                    lambda g, x, y: g * y,
                    lambda g, x, y: g * x)

A VJP takes the cotangent g of the result, then whatever it names of the forward's arguments and of
`out`, the result. What the VJPs name is all that a node keeps. The VJPs of one primitive share one
signature. They are written with primitives and operators, so the same text serves on

- arrays, in a plain backward: nothing is recorded, NumPy (or an array type that answers to NumPy's
  dispatch, NEP 13, 18 and 35: CuPy's, on a GPU) computes;
- tensors, under `create_graph=True`: the backward is recorded and can be differentiated again;
- symbols, when a cell is traced: a type with `__tape_primitive__` is handed the primitive itself.

What a primitive gets tells which: given arrays it computes, given tensors it records.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import array_of, is_plain, operand
from ..arrays.device import device_of, moved, on_gpu
from ..arrays.error_state import DEFAULT, quietly
from ..arrays.error_state import state as error_state
from . import anomaly, views
from .anomaly import is_watching
from .grad_modes import Scope, recording
from .tape import Node, NodeExtras

_ndarray = np.ndarray
_SCALARS = frozenset({float, int, bool})
_REFUSALS = (IndexError, ValueError, TypeError, OverflowError)  # how NumPy refuses arguments


class PrimitiveDef:
    """How a primitive is computed and differentiated; what a `Node` points to.

    kept:  positions in (out, *arguments) of the values that the VJPs named.
    joint: the one VJP for all arguments, `joint(needs, g, ...) -> a cotangent (or None) per argument`,
           or None where each argument has its own in `vjps`.
    fresh: whether the VJPs give arrays that nobody else holds, even where they are views.
    apply: the primitive itself.
    """

    __slots__ = (
        "name", "forward", "vjps", "combined", "arguments", "saved_positions",
        "numeric", "expects", "unaliased", "apply",
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
    ):
        self.name, self.forward, self.numeric, self.expects, self.unaliased = name, forward, numeric, expects, unaliased
        self.vjps, self.combined = tuple(vjps), vjps[0] if combined else None
        parameters = inspect.signature(forward).parameters.values()
        self.arguments = tuple(arguments) or tuple(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
        named: Sequence[str] = arguments
        if vjps and not arguments:
            named = list(inspect.signature(vjps[0]).parameters)[2 if combined else 1 :]
        places = {"out": 0, **{name: i for i, name in enumerate(self.arguments, 1)}}
        self.saved_positions = tuple(places[name] for name in named)


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
) -> Callable[..., Any]:
    """Make a primitive; see the head of this file.

    forward: takes arrays and static arguments, by position; returns an array, or a tuple of arrays.
    vjps: one for each leading argument, or with `combined` one for all; none for what has no gradient.
    numeric: all arguments are numbers and share one dtype (bool goes with any); otherwise only the
        floating ones must agree.
    floats: the result is floating; integers and booleans are taken as float32.
    fresh: the VJPs give arrays that nobody else holds (a rule of NumPy's own arrays is seen to, unasked).
    view: the result may be a view of the first argument; what is written into it is to reach that (`views.py`).
    expects: what to say of the arguments where the forward refuses them; "": its own words will do.
    arguments: their names, for a forward of `*arguments`; the VJP is given all of them.
    """
    definition = PrimitiveDef(name, forward, vjps, combined, numeric, expects, unaliased, arguments)

    def apply(*args: Any) -> Any:
        for a in args:
            if isinstance(a, Box):
                break
        else:
            return _computed_bare(definition, args) if numeric else compute(definition, args)
        raw: list[Any] = []
        parents: list[Node | None] = []
        recorded = unsettled = False
        dtype: Any = None
        for a in args:
            if isinstance(a, Box):
                data = a.array
                node = a.node
                if dtype is None:
                    dtype = data.dtype
                elif data.dtype is not dtype:
                    unsettled = True
                if node is not None:
                    recorded = True
                raw.append(data)
                parents.append(node)
            else:
                if numeric and type(a) not in _SCALARS:
                    unsettled = True
                    a = _owned(name, a)
                raw.append(a)
                parents.append(None)
        if unsettled:
            promote(definition, raw)
        if floats and dtype.kind != "f":
            raw = [a.astype(np.float32) if _is_array(a) else a for a in raw]
        out = compute(definition, raw)
        if type(out) is not _ndarray or out.dtype is not dtype:
            out = _settled_result(definition, out, raw)
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


def _computed_bare(definition: PrimitiveDef, args: Sequence[Any]) -> Any:
    """The forward on numbers and bare arrays: an array. For any other library's array, or lists, a tensor."""
    for a in args:
        if type(a) not in _SCALARS and not is_plain(a):
            break
    else:
        return compute(definition, args)
    opened = [a if type(a) in _SCALARS else operand(definition.name, a) for a in args]
    return definition.apply(*opened) if any(isinstance(a, Box) for a in opened) else compute(definition, opened)


def _owned(name: str, a: Any) -> Any:
    """An argument of a numeric primitive that is no tensor: a number, a list (both take the dtype of the tensors beside
    them), or a copy of an array, as the caller may write into his before the backward."""
    if isinstance(a, np.generic):
        return array_of(name, a, any_dtype=a.dtype.kind != "f").item()
    if isinstance(a, (list, tuple, int, float)) or hasattr(type(a), "__tape_primitive__"):
        return a
    if a is None or isinstance(a, (str, bytes, complex, dict, set)) or callable(a):
        raise TypeError(f"{name}: expected tensors, arrays or numbers, got {type(a).__name__} {a!r}")
    return array_of(name, a).copy()


def compute(definition: PrimitiveDef, raw: Sequence[Any]) -> Any:
    """The forward on bare values: NumPy's, or that of an array type with a way of its own."""
    if type(raw[0]) is not _ndarray:
        for a in raw:
            handler = getattr(type(a), "__tape_primitive__", None)
            if handler is not None:
                return handler(definition, raw)
    try:
        return definition.forward(*raw) if error_state() is DEFAULT else quietly(definition.forward, *raw)
    except _REFUSALS as error:
        one_device(definition, raw)
        if not definition.expects:
            raise
        kind = next(k for k in _REFUSALS if isinstance(error, k))
        raise kind(
            f"{definition.name}: expected {definition.expects}, got {_described(definition, raw)} ({error})"
        ) from error


def _record(definition: PrimitiveDef, parents: list, raw: list, out: Any) -> Any:
    """The result as a box on the tape, with a new node that holds what the rule keeps."""
    saved = (
        tuple([out if k == 0 else raw[k - 1] for k in definition.saved_positions]) if definition.saved_positions else ()
    )
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
    """The cotangent of a primitive with several results; `parts` has one for each, None where nothing arrived."""

    __slots__ = ("received", "count")
    shape = "bundle"  # of the node and of its cotangent alike: there is nothing to broadcast
    dtype = None

    def __init__(self, received: dict[int, Any], count: int):
        self.received, self.count = received, count

    @property
    def parts(self) -> tuple:
        return tuple(map(self.received.get, range(self.count)))

    def __add__(self, other: CotangentTuple) -> CotangentTuple:
        # In place, so that n results bring theirs in n steps: a bundle is made for one walk, and each part comes once.
        self.received.update(other.received)
        return self


# The i-th of n results: its cotangent takes its place in the bundle.
_ONE_OF = PrimitiveDef("result", lambda x, i, n: x, (lambda g, i, n: CotangentTuple({i: g}, n),), False, False, "")


def _named(definition: PrimitiveDef, raw: Sequence[Any]) -> list[tuple[str, Any]]:
    """The arguments of a primitive with their names, for an error message."""
    names = [*definition.arguments, *(f"argument {i}" for i in range(len(definition.arguments), len(raw)))]
    return list(zip(names, raw))


def _described(definition: PrimitiveDef, raw: Sequence[Any]) -> str:
    """The arguments of a primitive in words: shapes of arrays, values of what is static."""
    return ", ".join(
        f"{name} of shape {a.shape}" if hasattr(a, "shape") else f"{name} = {a!r}"
        for name, a in _named(definition, raw)
    )


def _is_array(a: Any) -> bool:
    return hasattr(a, "dtype") and not isinstance(a, np.generic)


def promote(definition: PrimitiveDef, raw: list) -> None:
    """Make the array arguments agree in device and dtype, in place, or say that they do not.

    Numbers take the dtype of the tensor that they meet; a list becomes an array, of that dtype if it is floating.
    """
    arrays = [a for a in raw if _is_array(a)]
    model = max(arrays, key=lambda a: (a.dtype.kind == "f", a.dtype.kind != "b"))
    for i, a in enumerate(raw):
        if definition.numeric and isinstance(a, (list, tuple)):
            floats = model.dtype if model.dtype.kind == "f" else np.float32
            listed = array_of(definition.name, a, floats=floats)
            raw[i] = moved(listed.astype(floats) if model.dtype.kind == "f" else listed, device_of(model))
    one_device(definition, raw)
    for a in arrays:
        if type(a) is not type(model):
            got = f"{type(model).__module__}.{type(model).__name__} and {type(a).__module__}.{type(a).__name__}"
            raise TypeError(f"{definition.name}: expected arrays of one kind, got {got}")
        if a.dtype != model.dtype and (definition.numeric and a.dtype.kind != "b" or a.dtype.kind == "f"):
            names = " and ".join(dict.fromkeys(str(a.dtype) for a in arrays))
            raise TypeError(
                f"{definition.name}: expected arguments of one dtype, got {names}: convert one with .to(dtype)"
            )


def one_device(definition: PrimitiveDef, raw: Sequence[Any]) -> None:
    """Raise RuntimeError unless the arrays among the arguments are on one device.

    Asked where it can be seen that they may not be, for it costs nothing on the CPU then: where a library refuses
    arguments, and where a result is not NumPy's.
    """
    if len({device_of(a) for a in raw if _is_array(a)}) > 1:
        (first, there), *others = [(name, device_of(a)) for name, a in _named(definition, raw) if _is_array(a)]
        name, place = next(other for other in others if other[1] != there)
        raise RuntimeError(
            f"{definition.name}: {name}: expected a tensor on {there}, as {first} is, got one on {place}: "
            "move one of them with .to(device)"
        )


_numbers: ContextVar[tuple[Any, bool]] = ContextVar("numbers", default=(np.float32, False))


def numbers_as(dtype: Any) -> Scope:
    """Within the block a result of nothing but numbers, as `where(x > 0, 1, 0.0)`, is of this dtype, whole ones too."""
    return Scope(_numbers, (dtype, True))


def _settled_result(definition: PrimitiveDef, out: Any, raw: list) -> Any:
    """An array where NumPy gave a scalar, and float32 where its arithmetic took numbers and integers to float64."""
    if type(out) is tuple:
        if out and type(out[0]) is not _ndarray and on_gpu(out[0]):
            one_device(definition, raw)
        return out
    if isinstance(out, np.generic):
        out = np.asarray(out)
    elif type(out) is not _ndarray and on_gpu(out):
        one_device(definition, raw)
    if definition.numeric and out.dtype == np.float64 and not any(_is_array(a) and a.dtype == np.float64 for a in raw):
        out = quietly(out.astype, _numbers.get()[0], copy=False)
    elif definition.numeric and out.dtype.kind in "iu" and _numbers.get()[1]:
        out = out.astype(_numbers.get()[0])
    return out
