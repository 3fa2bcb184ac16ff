"""The tape: what is recorded while a model runs, and the walk back through it.

Reverse-mode differentiation in one page. While a function runs, every primitive that touches a
value with `requires_grad` leaves a `Node`: the rule it followed, the nodes its inputs came from,
and the few arrays its rule will want again. `walk` goes through the nodes from the newest to the
oldest. At each it holds the cotangent g = d(loss)/d(value), asks the rule for the vector-Jacobian
products (VJP) g . d(value)/d(input), and adds them up at the inputs.

The tape knows no primitive by name and no array type: rules are given to it (see `primitive.py`),
and cotangents are whatever the rules return, as long as they fit the values that they are of (`cotangent.py`).

Reference: A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., chapter 3.2 (reverse mode).
"""

from __future__ import annotations

import itertools
import operator
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..arrays.box import Box, boxed
from ..arrays.error_state import undisturbed
from ..kernels.runtime import locks
from . import anomaly, cotangent
from .anomaly import is_watching
from .grad_modes import (
    enable_grad,
    is_grad_enabled,
    no_grad,
    recording_as,
    set_grad_enabled,
)

__all__ = [
    "enable_grad", "is_grad_enabled", "no_grad", "set_grad_enabled",  # the modes, for those who know the tape
]  # fmt: skip


def solely_owned(box: Box) -> bool:
    """Whether nobody but this box holds its array, so that none would see its numbers change.

    Counted are references: of the box and of the argument here. A view of the array holds one, as does a graph that
    has it saved; what an array cannot tell so, it tells by being read-only.
    """
    if sys.getrefcount(box.array) != 2:
        return False
    flags = getattr(box.array, "flags", None)
    return flags is not None and flags.owndata and getattr(flags, "writeable", True) and flags.c_contiguous


_clock = itertools.count()
_accumulate_lock = locks.renewed_at_fork(globals(), "_accumulate_lock", threading.Lock)


class NodeExtras:
    """What is asked of a node beside its place in the graph: to keep its gradient, to call hooks with it."""

    __slots__ = ("keeps_grad", "grad", "hooks", "line")

    def __init__(self, keeps_grad: bool = False, line: str | None = None):
        self.keeps_grad = keeps_grad
        self.grad: Any = None
        self.hooks: dict[int, Callable[[Any], Any]] = {}
        self.line = line  # where anomaly mode saw it recorded


class Node:
    """A value on the tape: one application of a primitive, or a leaf (`definition` is None).

    parents: for each argument of the primitive its node, or None where no gradient is wanted.
    saved:   the values that the rule's VJPs named; None once a walk has freed them.
    shape:   shape of the value, to which every cotangent is summed down on arrival.
    dtype:   dtype of the value, which every cotangent has too.
    order:   when it was made. A node is always younger than its parents, so walking by
             falling order meets every node after all of its consumers.
    """

    __slots__ = ("definition", "parents", "saved", "shape", "dtype", "order", "extras")

    def __init__(self, definition: Any, parents: Sequence[Node | None], saved: tuple | None, shape: Any, dtype: Any):
        self.definition = definition
        self.parents = parents
        self.saved = saved
        self.shape = shape
        self.dtype = dtype
        self.order = next(_clock)
        self.extras: NodeExtras | None = None

    @property
    def name(self) -> str:
        return "leaf" if self.definition is None else self.definition.name


def leaf(array: Any) -> Node:
    """The node of a value that gradients are wanted for and that nothing recorded computed."""
    node = Node(None, (), (), array.shape, array.dtype)
    node.extras = NodeExtras(keeps_grad=True)
    return node


def _freed(node: Node) -> RuntimeError:
    return RuntimeError(
        f"backward: the graph through '{node.name}' was freed by an earlier backward; "
        "expected a graph that is whole: pass retain_graph=True to the earlier call to go through it twice, "
        "or detach() what comes from an earlier step, as a state that is carried on"
    )


def _reachable(roots: Sequence[Node], whole: bool) -> list[Node]:
    """Every node from which the roots were computed, oldest first. whole: none of them may have been freed."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        node = stack.pop()
        if whole and node.saved is None:
            raise _freed(node)
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=operator.attrgetter("order"))


def _leading_to(targets: Iterable[Node], nodes: Sequence[Node]) -> set[Node]:
    """Those of `nodes` (oldest first) through which a gradient must pass to reach the targets."""
    wanted = set(targets)
    for node in nodes:
        if any(parent in wanted for parent in node.parents):
            wanted.add(node)
    return wanted


def _wrapped(node: Node, saved: tuple) -> tuple:
    """The saved values as boxes with their place on the tape, so that what a VJP does with them is recorded."""
    sources = [node if k == 0 else node.parents[k - 1] for k in node.definition.saved_positions]
    return tuple(value if source is None else boxed(value, source) for value, source in zip(saved, sources))


def _report(extras: NodeExtras, node: Node, g: Any) -> Any:
    """Show the finished cotangent of a node to its hooks; the last word they return goes on down the tape."""
    is_box = isinstance(g, Box)
    box = g if is_box else boxed(g[...])  # [...] makes arrays of NumPy's scalars
    for hook in tuple(extras.hooks.values()):
        changed = hook(box)
        if changed is not None:
            if not isinstance(changed, Box) or changed.array.shape != node.shape or changed.array.dtype != node.dtype:
                raise ValueError(
                    f"hook on '{node.name}': expected None or a tensor, {node.dtype} of shape {node.shape}, "
                    f"got {getattr(changed, 'dtype', type(changed).__name__)} of shape {getattr(changed, 'shape', ())}"
                )
            box = changed
    return box if is_box else box.array


def _accumulate_grads(found: Sequence[tuple[NodeExtras, Any]]) -> None:
    """Add boxes to grads. Leaves accumulate over calls of backward, which several threads may be in."""
    with locks.held(_accumulate_lock):
        for extras, g in found:
            extras.grad = g if extras.grad is None else extras.grad + g


def _shares(definition: Any, needs: list[bool], g: Any, saved: tuple) -> list[Any]:
    """What a joint VJP gives to each parent; an array given twice is copied, for each is to own what it gets."""
    shares = list(definition.combined(needs, g, *saved))
    given: set[int] = set()
    for i, share in enumerate(shares):
        if needs[i] and share is not None and not isinstance(share, Box):
            shares[i] = share.copy() if id(share) in given else share
            given.add(id(share))
    return shares


class _PendingCotangents:
    """The cotangents of nodes that the walk has still to reach, added up as they come."""

    __slots__ = ("accumulations", "in_place", "owned", "sums")

    def __init__(self, in_place: bool):
        self.in_place = in_place
        self.accumulations: list[
            tuple[NodeExtras, Any]
        ] = []  # what is to be added to the grad of whose notes, at the end
        self.sums: dict[Node, Any] = {}
        self.owned: set[Node] = set()  # nodes whose sum is an array of our own, to be added to in place

    def add(self, node: Node, g: Any, unaliased: bool) -> None:
        """g: of the node's shape; fresh: nobody else holds the array."""
        old = self.sums.get(node)
        if old is None:
            self.sums[node] = g
        elif self.in_place and node in self.owned:
            self.sums[node] = operator.iadd(old, g)
        else:
            self.sums[node], unaliased = old + g, True
        if unaliased:
            self.owned.add(node)

    def take(self, node: Node, accumulations: bool) -> Any:
        """The whole cotangent of a node that the walk has reached, shown to its hooks, and noted for its grad."""
        g, extras = self.sums.pop(node), node.extras
        if extras is not None:
            if extras.hooks:
                g = _report(extras, node, g)
                self.owned.discard(node)
            if extras.keeps_grad and accumulations:
                saved_positions = g.array.copy() if isinstance(g, Box) else g if node in self.owned else g.copy()
                # [...] makes arrays of NumPy's scalars
                self.accumulations.append((extras, boxed(saved_positions[...], g.node if isinstance(g, Box) else None)))
        return g


@undisturbed
def backward_pass(
    roots: Sequence[tuple[Node, Any]],
    inputs: Sequence[Node] | None = None,
    retain: bool = False,
    create: bool = False,
) -> dict[Node, Any]:
    """Carry cotangents from `roots` back through the tape.

    Without `inputs` the gradients are added to the leaves' grad; with `inputs` nothing is stored
    and the cotangent of each of them is returned. `retain` keeps the graph for another walk;
    otherwise every node is emptied as the walk passes it. `create` records the walk itself: cotangents
    are boxes then, so that they can be differentiated again.
    """
    nodes = _reachable([node for node, _ in roots], whole=inputs is None)
    targets = frozenset(inputs or ())
    wanted = None if inputs is None else _leading_to(targets, nodes)
    found: dict[Node, Any] = {}
    pending = _PendingCotangents(in_place=not create)
    add, watch = pending.add, is_watching()
    for node, g in roots:
        add(node, g, False)

    with recording_as(create):
        while nodes:
            node = nodes.pop()
            definition, parents, saved = node.definition, node.parents, node.saved
            if node not in pending.sums or wanted is not None and node not in wanted:
                continue
            g = pending.take(node, accumulations=inputs is None)
            if node in targets:
                found[node] = g
            if definition is None or wanted is not None and not any(parent in wanted for parent in parents):
                continue
            if saved is None:
                raise _freed(node)
            if not retain:
                node.saved = None
            if create:
                saved = _wrapped(node, saved)
            if definition.combined:
                needs = [p is not None and (wanted is None or p in wanted) for p in parents]
                shares = _shares(definition, needs, g, saved)
            for i, parent in enumerate(parents):
                if parent is None or wanted is not None and parent not in wanted:
                    continue
                product = shares[i] if definition.combined else definition.vjps[i](g, *saved)
                if product is None:
                    continue
                unaliased = definition.unaliased or product is not g and getattr(product, "base", g) is None
                if watch:
                    anomaly.check_vjp(node, g, product)
                if getattr(product, "dtype", None) is not parent.dtype or product.shape != parent.shape:
                    product, unaliased = cotangent.fitted(node, i, parent, product), True
                add(parent, product, unaliased)
        if pending.accumulations:
            _accumulate_grads(pending.accumulations)
    return found


class HookHandle:
    """A hook that can be taken off again: by `remove()`, or by calling the handle."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Callable[[Any], Any]], key: int):
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Take the hook off; nothing happens if it is off already."""
        self._hooks.pop(self._key, None)

    __call__ = remove


def add_hook(node: Node, hook: Callable[[Any], Any]) -> HookHandle:
    """Call `hook(gradient)` when the walk reaches the node; returns the handle that takes it off again."""
    if node.extras is None:
        node.extras = NodeExtras()
    key = next(_clock)
    node.extras.hooks[key] = hook
    return HookHandle(node.extras.hooks, key)
