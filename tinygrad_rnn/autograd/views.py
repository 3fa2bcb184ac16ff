"""Views: tensors that share their numbers with another, as `x[0]`, `x.T` and `x.reshape(-1)` do.

Tensors are values: a write in place gives a tensor a new array. A write into a view must reach its owner, the tensor
that it was taken from. So a view remembers its origin: the owner, and the primitive that made the view from it. The
write gives new arrays to the owner and to every owner in between; neither the tape nor the holder of an old array sees
a number change. If an owner was written to meanwhile, those numbers stay, because the view is a view of the owner's
present array. A view refers to its owners weakly, so it keeps no more memory alive than its array does.

Only an unrecorded view has an origin: a write into a recorded tensor is an error.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from .grad_modes import recording

# The origin of a view: a reference to the owner, the owner's own origin or None, a reference to the first owner, and
# how the view is made from its owner: the primitive (None for the same array), its further arguments, and which of its
# results.
Origin = tuple[Any, Any, Any, Any, tuple, int]
_ref = weakref.ref


def remember(definition: Any, x: Any, raw: list, out: Any) -> Any:
    """Return the unrecorded result of a primitive that makes views as a box or several, each view with its origin."""
    if type(out) is tuple:
        return tuple([_with_origin(boxed(o), x, raw[0], definition, raw, i) for i, o in enumerate(out)])
    return _with_origin(boxed(out), x, raw[0], definition, raw, 0)


def same_array(x: Any) -> Any:
    """Return a constant that shares the array of x."""
    out = boxed(x.array)
    _remember(out, x, None, (), 0)
    return out


def _with_origin(out: Any, x: Any, source: Any, definition: Any, raw: list, part: int) -> Any:
    base = getattr(out.array, "base", None)
    if base is not None and (base is source or base is source.base) and isinstance(x, Box):
        _remember(out, x, definition, tuple(raw[1:]), part)
    return out


def _remember(out: Any, x: Any, definition: Any, arguments: tuple, part: int) -> None:
    above = getattr(x, "origin", None)
    if above is not None and above[2]() is None:
        above = x.origin = _living(above)
    owner = _ref(x)
    out.origin = (owner, above, owner if above is None else above[2], definition, arguments, part)


def _chain(origin: Origin | None) -> list[Origin]:
    """Return an origin, the origin of its owner, and so on up to the first owner."""
    found = []
    while origin is not None:
        found.append(origin)
        origin = origin[1]
    return found


def _living(origin: Origin) -> Origin | None:
    """Return an origin without the owners above the first that still exists; None if no owner exists."""
    chain, first = _chain(origin), None
    above: Origin | None = None
    for owner, _, _, definition, arguments, part in reversed(chain):
        if first is None and owner() is not None:
            first = owner
        if first is not None:
            above = (owner, above, first, definition, arguments, part)
    return above


def _alive(box: Any) -> list[Origin]:
    """Return the origins of a box, from that of its first owner down; an empty list if no owner exists."""
    origin = getattr(box, "origin", None)
    if origin is not None and origin[2]() is None:
        origin = box.origin = _living(origin)
    if origin is None:
        return []
    chain, first, own = _chain(origin)[::-1], origin[2]().array, box.array
    if type(first) is not type(own) or first.dtype != own.dtype:  # the owner has been converted or moved since
        return []
    return chain


def _applied(origin: Origin, array: Any) -> Any:
    definition, arguments, part = origin[3:]
    if definition is None:
        return array
    out = definition.forward(array, *arguments)
    return out[part] if type(out) is tuple else out


def current(box: Any) -> Any:
    """Return the array of a box. That of a view is taken from its owner's present array."""
    chain = _alive(box)
    if not chain:
        return box.array
    array = chain[0][0]().array
    for origin in chain:
        array = _applied(origin, array)
    return array


def overwrite(name: str, box: Any, array: Any) -> None:
    """Give a box a new array, of its shape and dtype, and write that into all owners that it is a view of.

    name: of the operation, for errors. Raise RuntimeError if an owner may not be written to.
    """
    chain = _alive(box)
    _check_owners(name, chain)
    if chain:
        array = _written(name, chain, array)
    box.array = array


def _check_owners(name: str, chain: list[Origin]) -> None:
    detached = False
    for owner, _, _, definition, _, _ in reversed(chain):
        detached = detached or definition is None
        x = owner()
        node = None if x is None else x.node
        if node is not None and (node.definition is not None or recording() and not detached):
            what = f"the result of {node.name!r}" if node.definition is not None else "a leaf with requires_grad"
            raise RuntimeError(
                f"{name}: in-place write into a view of a recorded tensor: expected a view of a constant, or of a leaf "
                f"within no_grad(), got one of {what} of shape {x.shape}: clone() it first"
            )


def _written(name: str, chain: list[Origin], array: Any) -> Any:
    """Give all owners their new arrays, and return the view's."""
    first = chain[0][0]()
    whole = first.array.copy("K")
    steps = [whole]
    for origin in chain:
        steps.append(_applied(origin, steps[-1]))
    view = steps[-1]
    if any(n > 1 and not stride for n, stride in zip(view.shape, view.strides)):
        raise RuntimeError(
            f"{name}: expected a tensor with a place for each element, got a view of shape {view.shape} that repeats "
            f"those of a tensor of shape {first.shape}: clone() it first"
        )
    if np.may_share_memory(view, whole):
        if not getattr(view.flags, "writeable", True):  # in NumPy only broadcast views are read-only
            view.flags.writeable = True
        view[...] = array
    else:  # the owner's present array has another layout: find the places by their numbers
        places = np.arange(whole.size, like=whole).reshape(whole.shape)
        for origin in chain:
            places = _applied(origin, places)
        flat = whole.reshape(-1).copy()
        flat[places] = array
        steps = [flat.reshape(whole.shape)]
        for origin in chain:
            steps.append(_applied(origin, steps[-1]))
    for origin, owned in zip(chain, steps):
        owner = origin[0]()
        if owner is not None:
            owner.array = owned
    return steps[-1]
