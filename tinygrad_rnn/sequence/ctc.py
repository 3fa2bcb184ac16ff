"""Connectionist temporal classification (CTC): one tape node for the losses of a batch of sequences.

The node's forward and backward are a kernel's. If the backward is itself recorded (`create_graph=True`), it runs the
recursion as ordinary primitives instead, step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.box import Box
from ..autograd.functional import grad
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitive import primitive
from ..autograd.primitives.elementwise import cast, lt, where
from ..autograd.primitives.index import take_along
from ..autograd.primitives.reduce import logsumexp
from ..autograd.primitives.shape import pad, stack, unbind
from ..kernels import dense
from .fused import alias

NEVER = -1e30
"""The log-probability of an impossible event where the recursion must be differentiated: -inf would give inf - inf."""


@dataclass(repr=False)
class Targets:
    """The constant argument of the node, and the data that its forward leaves for its backward.

    labels [N, L]: the label of each state (see `kernels.reference.ctc`); steps, states [N]: how many of them are real.
    weights [N]: a factor of each loss. zero_infinity: a loss that would be inf is 0, and so is its gradient.
    losses [N]: without weights, in float64. saved: what the kernel saved.
    """

    labels: np.ndarray
    steps: np.ndarray
    states: np.ndarray
    weights: np.ndarray
    zero_infinity: bool
    keep: bool = False
    losses: Any = None
    saved: Any = None


def _forward(x: np.ndarray, targets: Targets) -> np.ndarray:
    t = targets
    t.losses, t.saved = dense.ctc_losses(x, t.labels, t.steps, t.states, t.keep)
    losses = np.where(t.losses == np.inf, 0.0, t.losses) if t.zero_infinity else t.losses
    return (losses * t.weights).astype(x.dtype)


def _vjp(g: Any, x: Any, targets: Targets) -> Any:
    if isinstance(g, Box):
        return _recorded_vjp(g, x, targets)
    t = targets
    scaled = (g * t.weights).astype(x.dtype)
    return dense.ctc_gradient(scaled, x, t.labels, t.steps, t.states, t.losses, t.saved, t.zero_infinity)


_ctc = primitive("ctc", _forward, _vjp, unaliased=True)


def ctc(x: Any, targets: Targets) -> Any:
    """Return weights[n] times -log p(target n) for each sequence n: x [T, N, C] on the CPU -> [N].

    The caller has checked the targets. Each call needs a `Targets` of its own. The gradient is -weights g posterior.
    """
    targets.keep = is_grad_enabled() and isinstance(x, Box) and x.requires_grad
    return _ctc(x, targets)


def _recorded_vjp(g: Any, x: Any, targets: Targets) -> Any:
    """Return the same gradient through ordinary primitives, on the tape."""
    if not x.shape[0]:
        return x * 0.0
    x, impossible = alias(x), targets.losses == np.inf
    g = where(impossible, 0.0, g * targets.weights.astype(x.dtype))
    (found,) = grad(recursion(x, targets), x, g, create_graph=True)
    if targets.zero_infinity or not impossible.any():
        return found
    undefined = impossible & (np.arange(x.shape[0])[:, None] < targets.steps)
    return where(undefined[:, :, None], np.nan, found)


def recursion(x: Any, targets: Targets) -> Any:
    """Return the loss of each sequence, without weights, by primitives: x [T, N, C] -> [N].

    The equations are those of `kernels.reference.ctc.losses`, with the large number -NEVER in place of inf.
    """
    labels, steps = targets.labels, targets.steps
    (time, batch), count = x.shape[:2], labels.shape[1]
    emitted = cast(take_along(x, 2, np.broadcast_to(labels, (time, batch, count))), np.float64)
    emitted = where((np.arange(time)[:, None] < steps)[:, :, None], emitted, 0.0)
    emitted = where(lt(emitted, NEVER), NEVER, emitted)
    leaps = np.zeros(labels.shape, np.bool_)
    leaps[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    a = np.full((batch, count), NEVER)
    a[:, :1] = 0.0
    for t, e in enumerate(unbind(emitted)):
        before = pad(a, (2, 0), NEVER)
        arriving = stack([a, before[:, 1:-1], where(leaps, before[:, :-2], NEVER)])
        a = where((steps > t)[:, None], logsumexp(arriving, 0) + e, a)
    ends = np.arange(count) - targets.states[:, None]
    return cast(-logsumexp(where((ends == -1) | (ends == -2), a, NEVER), 1), x.dtype)
