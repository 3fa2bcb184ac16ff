"""Extras of a node: its gradient and its hooks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from ..arrays.box import Box, boxed

_keys = itertools.count()


class NodeExtras:
    """The attributes that only some nodes have, besides their place in the graph.

    keeps_grad: whether a backward pass adds the node's cotangent to `grad`
    hooks:      functions that a backward pass calls with the node's cotangent
    line:       the user's line that recorded the node, in anomaly mode
    """

    __slots__ = ("keeps_grad", "grad", "hooks", "line")

    def __init__(self, keeps_grad: bool = False, line: str | None = None):
        self.keeps_grad = keeps_grad
        self.grad: Any = None
        self.hooks: dict[int, Callable[[Any], Any]] = {}
        self.line = line


class HookHandle:
    """The handle of a hook. `remove()`, or a call of the handle, takes the hook off."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], key: int):
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Take the hook off. A second call does nothing."""
        self._hooks.pop(self._key, None)

    __call__ = remove


def new_key() -> int:
    """Return a number under which a hook is stored. Later hooks have larger numbers."""
    return next(_keys)


def add_hook(node: Any, hook: Callable[[Any], Any]) -> HookHandle:
    """Have every backward pass that visits the node call `hook(gradient)`. Return the handle that takes it off."""
    if node.extras is None:
        node.extras = NodeExtras()
    key = new_key()
    node.extras.hooks[key] = hook
    return HookHandle(node.extras.hooks, key)


def run_hooks(extras: NodeExtras, node: Any, g: Any) -> Any:
    """Return the cotangent of a node after its hooks: each hook may replace it.

    Raise ValueError if a hook returns anything but None or a tensor of the node's shape and dtype.
    """
    is_box = isinstance(g, Box)
    box = g if is_box else boxed(g[...])  # [...] makes an array of a NumPy scalar
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
