"""Gradients as a function, the cotangent that a backward pass starts with, and states that leave the tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.device import array_like, same_device
from . import tape, views


def grad(
    outputs: Box | Sequence[Box],
    inputs: Box | Sequence[Box],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Return d(sum of grad_outputs . outputs) / d(each input) as a tuple. No tensor's `grad` changes.

    grad_outputs: a cotangent for each output, None for one that is a scalar.
    create_graph: record the backward pass, so that the result can be differentiated again.
    allow_unused: return None for an input that no output depends on, instead of raising RuntimeError.
    """
    outs: list[Any] = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    ins = [inputs] if isinstance(inputs, Box) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outs)
    seeds = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]
    if len(seeds) != len(outs):
        raise ValueError(f"grad: grad_outputs: expected one for each of {len(outs)} outputs, got {len(seeds)}")
    for i, x in enumerate(ins):
        if not isinstance(x, Box) or x.node is None:
            raise RuntimeError(f"grad: inputs[{i}]: expected a tensor with requires_grad, got {x!r}")
    cotangents = [starting_cotangent("grad", out, seed, create_graph) for out, seed in zip(outs, seeds)]
    roots: Any = [(out.node, g) for out, g in zip(outs, cotangents)]
    nodes: Any = [x.node for x in ins]
    found = tape.backward_pass(roots, nodes, retain_graph or create_graph, create_graph)
    results = [found.get(node) for node in nodes]
    for i, g in enumerate(results):
        if g is None and not allow_unused:
            raise RuntimeError(
                f"grad: inputs[{i}]: expected one that the outputs depend on, got none; allow_unused=True gives None"
            )
    return tuple(g if g is None else _own(g) for g in results)


def _own(g: Any) -> Any:
    """Return a gradient as a tensor with an array of its own: for x + y, one array is the gradient of both."""
    return boxed(g.array.copy(), g.node) if isinstance(g, Box) else boxed(g[...].copy())


def starting_cotangent(name: str, output: Any, gradient: Any, create: bool) -> Any:
    """Return the cotangent that a backward pass starts with at `output`: a box if it is recorded, else an array."""
    if not isinstance(output, Box) or output.node is None:
        raise RuntimeError(
            f"{name}: expected a tensor computed from something with requires_grad, got "
            f"{'a constant' if isinstance(output, Box) else type(output).__name__}"
        )
    g: Any = gradient if isinstance(gradient, Box) else None
    if gradient is None:
        if output.array.size != 1:
            raise RuntimeError(
                f"{name}: gradient: expected one of shape {output.shape}, as the tensor is not a scalar, got none"
            )
        g = boxed(np.ones_like(output.array))
    elif g is None:
        g = boxed(array_like(gradient, output, f"{name}: gradient").astype(output.dtype))
    if type(g.array) is not type(output.array):
        same_device(f"{name}: gradient", g, output, "the tensor is")
    if g.shape != output.shape or g.dtype != output.dtype:
        raise ValueError(
            f"{name}: gradient: expected {output.dtype} of shape {output.shape}, got {g.dtype} of shape {g.shape}"
        )
    return g if create else g.array


def detach(state: Any) -> Any:
    """Return the same structure with every tensor detached, to carry a state on in truncated BPTT.

    state: a tensor, None, or tuples, named tuples, lists and dicts of these, nested as they like. Raise TypeError for
    anything else.
    """
    return _detached("state", state)


def _detached(name: str, state: Any) -> Any:
    if state is None or isinstance(state, Box):
        return state if state is None else views.same_array(state)
    if isinstance(state, dict):
        found = state.copy()  # keeps the kind of dict
        found.update({key: _detached(f"{name}[{key!r}]", part) for key, part in state.items()})
        return found
    if not isinstance(state, (tuple, list)):
        raise TypeError(f"detach: {name}: expected tensors, tuples, lists, dicts or None, got {type(state).__name__}")
    parts = [_detached(f"{name}[{i}]", part) for i, part in enumerate(state)]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
