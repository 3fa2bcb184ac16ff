"""Two checks for any derivative: a comparison with finite differences, in first and in second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.device import array_like
from .functional import grad
from .grad_modes import enable_grad, no_grad


def gradcheck(
    f: Callable[..., Any],
    inputs: Box | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    directions: int = 2,
    seed: int = 0,
) -> bool:
    """Return True if the gradients of f agree with finite differences; else raise AssertionError with both numbers.

    For every input x with requires_grad, a few random directions v, and random weights u of the outputs, compare
    u . (f(x + eps v) - f(x - eps v)) / (2 eps) with the tape's (gradient of u . f) . v.
    inputs: those that require a gradient must be float64; f gets the others as they are. f returns a tensor or several.
    """
    args: list[Any] = [inputs] if isinstance(inputs, Box) else list(inputs)
    checked = [i for i, x in enumerate(args) if isinstance(x, Box) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: inputs: expected at least one tensor with requires_grad, got none")
    for i in checked:
        if args[i].dtype != np.float64:
            raise TypeError(f"gradcheck: inputs[{i}]: expected float64, got {args[i].dtype}")
    rng = np.random.default_rng(seed)
    args = [boxed(x.array.copy()).requires_grad_() if i in checked else x for i, x in enumerate(args)]
    outputs = _floating(f(*args))
    weights = [array_like(rng.standard_normal(out.shape), out) for out in outputs]
    recorded = [(out, w) for out, w in zip(outputs, weights) if out.requires_grad]
    if not recorded:
        raise AssertionError("gradcheck: expected an output that depends on the inputs, got none on the tape")
    outs, seeds = [out for out, _ in recorded], [boxed(w) for _, w in recorded]
    gradients = grad(outs, [args[i] for i in checked], seeds, allow_unused=True)

    def projected(i: int, moved: np.ndarray) -> float:
        shifted = [boxed(moved[...]).requires_grad_() if j == i else x for j, x in enumerate(args)]
        with no_grad():
            return sum(float((out.array * w).sum()) for out, w in zip(_floating(f(*shifted)), weights))

    for i, g in zip(checked, gradients):
        x = args[i].array
        for _ in range(directions):
            v = array_like(rng.standard_normal(x.shape), x)
            numeric = (projected(i, x + eps * v) - projected(i, x - eps * v)) / (2 * eps)
            derived = 0.0 if g is None else float((g.array * v).sum())
            if not abs(numeric - derived) <= atol + rtol * max(abs(numeric), abs(derived)):
                raise AssertionError(
                    f"gradcheck: input {i} of shape {x.shape}: expected {numeric:.12g} by finite differences, "
                    f"got {derived:.12g} from the tape"
                )
    return True


def gradgradcheck(
    f: Callable[..., Any], inputs: Box | Sequence[Any], eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-5
) -> bool:
    """Return True if the gradients of the gradients of f agree with finite differences; see `gradcheck`."""
    args: list[Any] = [inputs] if isinstance(inputs, Box) else list(inputs)
    checked = [i for i, x in enumerate(args) if isinstance(x, Box) and x.requires_grad]
    rng = np.random.default_rng(1)
    reached = [out for out in _floating(f(*args)) if out.requires_grad]
    seeds = [boxed(array_like(rng.standard_normal(out.shape), out)).requires_grad_() for out in reached]

    def gradients(*both: Any) -> list[Any]:
        xs, us = list(both[: len(args)]), both[len(args) :]
        with enable_grad():
            outs = [out for out in _floating(f(*xs)) if out.requires_grad]
            found = grad(outs, [xs[i] for i in checked], us, create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(gradients, [*args, *seeds], eps, atol, rtol)


def _floating(outputs: Any) -> list[Any]:
    """Return the floating tensors among the results of a function."""
    if isinstance(outputs, (tuple, list)):
        return [out for part in outputs for out in _floating(part)]
    if not isinstance(outputs, Box):
        raise TypeError(f"gradcheck: f: expected it to return a tensor or several, got {type(outputs).__name__}")
    found: Any = outputs
    return [found] if found.dtype.kind == "f" else []
