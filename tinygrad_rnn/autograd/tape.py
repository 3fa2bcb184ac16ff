"""The tape: the nodes that are recorded while a model runs, and the backward pass through them.

Reverse-mode differentiation in one page. While a function runs, every primitive that touches a value with
`requires_grad` leaves a `Node`: its definition, the nodes that its arguments came from, and the few arrays that its
derivative needs again. `backward_pass` visits the nodes from the newest to the oldest. At each it has the cotangent
g = d(loss)/d(value). It asks the definition for the vector-Jacobian products (VJP) g . d(value)/d(argument), and adds
them to the cotangents of the arguments.

The tape knows no primitive by name and no array type. Definitions are given to it (`primitive.py`), and cotangents are
whatever the VJPs return, if they fit their values (`vjp.py`).

Reference: A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., chapter 3.2 (reverse mode).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from ..arrays.error_state import isolate_error_state
from .accumulate import PendingCotangents, accumulate_grads
from .grad_modes import recording_as
from .hooks import NodeExtras
from .vjp import combined_products, wrapped

_clock = itertools.count()


class Node:
    """A value on the tape: one application of a primitive, or a leaf (`definition` is None).

    parents: for each argument of the primitive its node, or None for an argument that no gradient is asked for
    saved:   the values that the primitive's VJPs need; None once a backward pass has freed them
    shape:   shape of the value, to which every cotangent is summed down
    dtype:   dtype of the value, which every cotangent has too
    order:   the time when it was recorded. A node is younger than its parents, so in falling order every node comes
             after all nodes that used its value.
    extras:  the leaf's gradient, and hooks; None for most nodes
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
    """Return the node of a value that gradients are asked for and that no primitive computed."""
    node = Node(None, (), (), array.shape, array.dtype)
    node.extras = NodeExtras(keeps_grad=True)
    return node


@isolate_error_state
def backward_pass(
    roots: Sequence[tuple[Node, Any]],
    inputs: Sequence[Node] | None = None,
    retain: bool = False,
    create: bool = False,
) -> dict[Node, Any]:
    """Carry cotangents from the roots back through the tape.

    roots: nodes, each with the cotangent that it starts with. inputs: return the cotangent of each of these nodes, and
    add nothing to any grad; without `inputs`, add the gradients of leaves to their grad. retain: keep the graph for
    another pass; otherwise the pass frees each node as it visits it. create: record the pass itself; cotangents are
    then boxes, so that they can be differentiated again.
    """
    nodes = _reachable([node for node, _ in roots], intact=inputs is None)
    on_path = None if inputs is None else _leading_to(inputs, nodes)
    targets = frozenset(inputs or ())
    found: dict[Node, Any] = {}
    pending = PendingCotangents(in_place=not create, keep_grads=inputs is None)
    for node, g in roots:
        pending.start(node, g)

    with recording_as(create):
        while nodes:
            node = nodes.pop()
            definition, parents, saved = node.definition, node.parents, node.saved
            if node not in pending.sums or on_path is not None and node not in on_path:
                continue
            g = pending.pop(node)
            if node in targets:
                found[node] = g
            if definition is None or on_path is not None and not any(parent in on_path for parent in parents):
                continue
            if saved is None:
                raise _freed(node)
            if not retain:
                node.saved = None
            if create:
                saved = wrapped(node, saved)
            if definition.combined:
                products = combined_products(node, on_path, g, saved)
            for i, parent in enumerate(parents):
                if parent is None or on_path is not None and parent not in on_path:
                    continue
                if definition.add_into is None or not pending.add_into(node, parent, g, saved):
                    product = products[i] if definition.combined else definition.vjps[i](g, *saved)
                    pending.add(node, i, g, product)
        accumulate_grads(pending.grads)
    return found


def _reachable(roots: Sequence[Node], intact: bool) -> list[Node]:
    """Return every node from which the roots were computed, oldest first.

    intact: raise RuntimeError if an earlier pass has freed one of them.
    """
    seen = set(roots)
    stack = list(seen)
    while stack:
        node = stack.pop()
        if intact and node.saved is None:
            raise _freed(node)
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=operator.attrgetter("order"))


def _leading_to(targets: Iterable[Node], nodes: Sequence[Node]) -> set[Node]:
    """Return those of `nodes` (oldest first) through which a gradient passes on its way to the targets."""
    found = set(targets)
    for node in nodes:
        if any(parent in found for parent in node.parents):
            found.add(node)
    return found


def _freed(node: Node) -> RuntimeError:
    return RuntimeError(
        f"backward: the graph through '{node.name}' was freed by an earlier backward; "
        "expected a graph that is whole: pass retain_graph=True to the earlier call to go through it twice, "
        "or detach() what comes from an earlier step, as a state that is carried on"
    )
