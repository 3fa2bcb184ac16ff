"""Gradients as a function, and the two checks that any derivative must pass: against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tape
from .device import beside
from .tensor import Tensor, cotangent


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """d(sum of grad_outputs . outputs) / d(each input), as a tuple; no tensor's `grad` changes.

    grad_outputs: a cotangent for each output, None for one that is a scalar.
    create_graph: record the walk, so that the result can be differentiated again.
    allow_unused: give None for an input that no output depends on, instead of raising RuntimeError.
    """
    outs: list[Any] = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outs)
    seeds = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]
    if len(seeds) != len(outs):
        raise ValueError(f"grad: grad_outputs: expected one for each of {len(outs)} outputs, got {len(seeds)}")
    for i, x in enumerate(ins):
        if not isinstance(x, Tensor) or x.node is None:
            raise RuntimeError(f"grad: inputs[{i}]: expected a tensor with requires_grad, got {x!r}")
    cotangents = [cotangent("grad", out, seed, create_graph) for out, seed in zip(outs, seeds)]
    roots: Any = [(out.node, g) for out, g in zip(outs, cotangents)]
    nodes: Any = [x.node for x in ins]
    found = tape.walk(roots, nodes, retain_graph or create_graph, create_graph)
    results = [found.get(node) for node in nodes]
    for i, g in enumerate(results):
        if g is None and not allow_unused:
            raise RuntimeError(
                f"grad: inputs[{i}]: expected one that the outputs depend on, got none; allow_unused=True gives None"
            )
    return tuple(g if g is None else _own(g) for g in results)


def _own(g: Any) -> Tensor:
    """A gradient as a tensor with an array of its own: in x + y, one array is the gradient of both."""
    return Tensor(g.array.copy(), g.node) if isinstance(g, Tensor) else Tensor(g[...].copy())


def gradcheck(
    f: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    directions: int = 2,
    seed: int = 0,
) -> bool:
    """Whether the gradients of f agree with finite differences; AssertionError with both numbers where not.

    For every input x with requires_grad and a few random directions v, and random weights u of the outputs,
    u . (f(x + eps v) - f(x - eps v)) / (2 eps) is compared with the tape's (gradient of u . f) . v.
    inputs: float64 where they require a gradient; others are passed on as they are. f returns a tensor or several.
    """
    args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: inputs: expected at least one tensor with requires_grad, got none")
    for i in checked:
        if args[i].dtype != np.float64:
            raise TypeError(f"gradcheck: inputs[{i}]: expected float64, got {args[i].dtype}")
    rng = np.random.default_rng(seed)
    args = [Tensor(x.array.copy()).requires_grad_() if i in checked else x for i, x in enumerate(args)]
    outputs = _floating(f(*args))
    weights = [beside(rng.standard_normal(out.shape), out) for out in outputs]
    recorded = [(out, w) for out, w in zip(outputs, weights) if out.requires_grad]
    if not recorded:
        raise AssertionError("gradcheck: expected an output that depends on the inputs, got none on the tape")
    outs, seeds = [out for out, _ in recorded], [Tensor(w) for _, w in recorded]
    gradients = grad(outs, [args[i] for i in checked], seeds, allow_unused=True)

    def projected(i: int, moved: np.ndarray) -> float:
        shifted = [Tensor(moved[...]).requires_grad_() if j == i else x for j, x in enumerate(args)]
        with tape.no_grad():
            return sum(float((out.array * w).sum()) for out, w in zip(_floating(f(*shifted)), weights))

    for i, g in zip(checked, gradients):
        x = args[i].array
        for _ in range(directions):
            v = beside(rng.standard_normal(x.shape), x)
            numeric = (projected(i, x + eps * v) - projected(i, x - eps * v)) / (2 * eps)
            derived = 0.0 if g is None else float((g.array * v).sum())
            if not abs(numeric - derived) <= atol + rtol * max(abs(numeric), abs(derived)):
                raise AssertionError(
                    f"gradcheck: input {i} of shape {x.shape}: expected {numeric:.12g} by finite differences, "
                    f"got {derived:.12g} from the tape"
                )
    return True


def gradgradcheck(
    f: Callable[..., Any], inputs: Tensor | Sequence[Any], eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-5
) -> bool:
    """Whether the gradients of the gradients of f agree with finite differences; see `gradcheck`."""
    args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
    rng = np.random.default_rng(1)
    reached = [out for out in _floating(f(*args)) if out.requires_grad]
    seeds = [Tensor(beside(rng.standard_normal(out.shape), out)).requires_grad_() for out in reached]

    def gradients(*both: Any) -> list[Tensor]:
        xs, us = list(both[: len(args)]), both[len(args) :]
        with tape.enable_grad():
            outs = [out for out in _floating(f(*xs)) if out.requires_grad]
            found = grad(outs, [xs[i] for i in checked], us, create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(gradients, [*args, *seeds], eps, atol, rtol)


def _floating(outputs: Any) -> list[Tensor]:
    """The floating tensors among what a function returned."""
    if isinstance(outputs, (tuple, list)):
        return [out for part in outputs for out in _floating(part)]
    if not isinstance(outputs, Tensor):
        raise TypeError(f"gradcheck: f: expected it to return a tensor or several, got {type(outputs).__name__}")
    return [outputs] if outputs.dtype.kind == "f" else []
