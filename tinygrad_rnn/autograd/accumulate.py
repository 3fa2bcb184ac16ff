"""Cotangents added up: those of nodes that the backward pass has still to visit, and the gradients of leaves."""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from typing import Any

from ..arrays.box import Box, boxed
from ..kernels.runtime import locks
from . import anomaly
from .anomaly import is_watching
from .hooks import NodeExtras, run_hooks
from .vjp import fitted

_accumulate_lock = locks.renewed_at_fork(globals(), "_accumulate_lock", threading.Lock)


class PendingCotangents:
    """The cotangents of nodes that the backward pass has still to visit.

    in_place: add to an array instead of making a new one, if the array belongs to nobody else.
    keep_grads: collect what is to be added to grads, in `grads`.
    """

    __slots__ = ("grads", "in_place", "keep_grads", "owned", "sums", "watching")

    def __init__(self, in_place: bool, keep_grads: bool):
        self.in_place, self.keep_grads, self.watching = in_place, keep_grads, is_watching()
        self.grads: list[tuple[NodeExtras, Any]] = []
        self.sums: dict[Any, Any] = {}
        self.owned: set[Any] = set()  # the nodes whose sum is an array that nobody else holds

    def start(self, root: Any, g: Any) -> None:
        """Give a root the cotangent that it starts with."""
        self.sums[root] = self.sums[root] + g if root in self.sums else g

    def add(self, node: Any, i: int, g: Any, product: Any) -> None:
        """Add what the VJP of the node's i-th argument gave to the cotangent of the node's i-th parent.

        g: the node's own cotangent. product: None adds nothing. A sum is added to in place if its array is unaliased:
        nobody else holds it.
        """
        if product is None:
            return
        parent, definition = node.parents[i], node.definition
        unaliased = definition.unaliased or product is not g and getattr(product, "base", g) is None
        if self.watching:
            anomaly.check_vjp(node, g, product)
        if getattr(product, "dtype", None) is not parent.dtype or product.shape != parent.shape:
            product, unaliased = fitted(node, i, parent, product), True
        old = self.sums.get(parent)
        if old is None:
            self.sums[parent] = product
        elif self.in_place and parent in self.owned:
            self.sums[parent] = operator.iadd(old, product)
        else:
            self.sums[parent], unaliased = old + product, True
        if unaliased:
            self.owned.add(parent)

    def add_into(self, node: Any, parent: Any, g: Any, saved: tuple) -> bool:
        """Add what the node's VJP would give to the parent's sum in place, where only this pass holds its array.

        Return whether it was added. Then `x[t]` for every t costs one array of the size of x, and not one for each t.
        The first of them makes that array. Anomaly mode examines each product, so there must be one.
        """
        if not self.in_place or self.watching or parent not in self.owned or not parent.shape:  # (): NumPy's scalars
            return False
        node.definition.add_into(self.sums[parent], g, *saved)
        return True

    def pop(self, node: Any) -> Any:
        """Return the complete cotangent of a node that the pass visits, after its hooks have seen it."""
        g, extras = self.sums.pop(node), node.extras
        if extras is not None:
            if extras.hooks:
                g = run_hooks(extras, node, g)
                self.owned.discard(node)
            if extras.keeps_grad and self.keep_grads:
                # A grad owns its array. [...] makes an array of a NumPy scalar.
                array = g.array.copy() if isinstance(g, Box) else g if node in self.owned else g.copy()
                self.grads.append((extras, boxed(array[...], g.node if isinstance(g, Box) else None)))
        return g


def accumulate_grads(grads: Sequence[tuple[NodeExtras, Any]]) -> None:
    """Add gradients to the grads of leaves. Several threads may do so at once."""
    if grads:
        with locks.held(_accumulate_lock):
            for extras, g in grads:
                extras.grad = g if extras.grad is None else extras.grad + g
