"""Connectionist temporal classification (CTC), in NumPy: the oracle of the compiled one.

Graves et al., Connectionist temporal classification (2006), section 4.1. A target is written as states: its labels with
a blank before, between and after them, L = 2 S + 1 for S labels. Sums of probabilities are taken in log space and in
float64, so that no sequence is too long.

x [T, N, C]: log-probabilities; labels [N, L]: the label of each state, from 0 to C - 1; steps [N]: the steps of each
sequence, from 0 to T; states [N]: its states, from 1 to L. Numbers past its steps or states are not read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


@np.errstate(invalid="ignore")  # of NaN
def losses(x: Array, labels: Array, steps: Array, states: Array, keep: bool) -> tuple[Array, Any]:
    """Return -log p(target) of each sequence, [N] in float64, and the data that `gradient` needs, or None.

    The loss is inf if no path of these steps spells the target. keep: a backward may follow.

        a(t, s) = log(e^a(t-1, s) + e^a(t-1, s-1) + [skip(s)] e^a(t-1, s-2)) + x(t, label(s))       equations 6, 7
        loss = -log(e^a(last, L-1) + e^a(last, L-2))                                                equation 8

    skip(s): s holds a label, and not the one of s - 2. An imagined step before the first, at which only state 0 has a
    probability, starts the recursion.
    """
    emitted, skip = _emitted(x, labels), _skip(labels)
    a = np.full((len(x) + 1, *labels.shape), -np.inf)
    a[0, :, :1] = 0.0
    for t, e in enumerate(emitted):
        before = np.pad(a[t], ((0, 0), (2, 0)), constant_values=-np.inf)
        after = np.logaddexp(np.logaddexp(a[t], before[:, 1:-1]), before[:, :-2] + skip) + e
        a[t + 1] = np.where((t < steps)[:, None], after, a[t])
    ends = np.arange(labels.shape[1]) - states[:, None]
    found = -np.logaddexp.reduce(np.where((ends == -1) | (ends == -2), a[-1], -np.inf), 1)
    return found, a if keep else None


@np.errstate(invalid="ignore")  # of NaN, and of inf - inf where a target is impossible
def gradient(
    g: Array, x: Array, labels: Array, steps: Array, states: Array, losses: Array, saved: Any, zero_infinity: bool
) -> Array:
    """Return -g posterior(t, n, c), the gradient of g . losses; 0 past the steps of a sequence.

    The posterior is the probability that step t emits class c, given the target:

        b(t, s) = log(e^q(t+1, s) + e^q(t+1, s+1) + [skip(s+2)] e^q(t+1, s+2)), q(t, s) = b(t, s) + x(t, label(s))
        posterior(t, c) = sum over the states s of label c of e^(a(t, s) + b(t, s) + loss)

    These are equations 10, 11 and 15, with b less the emission of its own step. An imagined step after the last, at
    which only the last state has a probability, starts the recursion. losses, saved: from `losses`. If a loss is inf,
    the gradient at the steps of its sequence is NaN; with zero_infinity 0.
    """
    emitted, skip = _emitted(x, labels), np.pad(_skip(labels), ((0, 0), (0, 2)), constant_values=-np.inf)
    out = np.zeros(x.shape)
    rows = np.arange(len(labels))[:, None]
    q = np.where(np.arange(labels.shape[1]) == states[:, None] - 1, 0.0, -np.inf)
    impossible = losses == np.inf
    for t in range(len(x) - 1, -1, -1):
        after = np.pad(q, ((0, 0), (0, 2)), constant_values=-np.inf)
        b = np.logaddexp(np.logaddexp(q, after[:, 1:-1]), after[:, 2:] + skip[:, 2:])
        runs = (t < steps)[:, None]
        posterior = np.exp(saved[t + 1] + b + losses[:, None])
        np.add.at(out[t], (rows, labels), np.where(runs, -g[:, None] * posterior, 0.0))
        out[t] = np.where(runs & impossible[:, None], 0.0 if zero_infinity else np.nan, out[t])
        q = np.where(runs, b + emitted[t], q)
    return out.astype(x.dtype)


def _emitted(x: Array, labels: Array) -> Array:
    """Return x at the label of each state: [T, N, L] in float64."""
    return np.take_along_axis(x, labels[None], 2).astype(np.float64)


def _skip(labels: Array) -> Array:
    """Return 0 for each state that may follow the one two before it, -inf for the others."""
    skip = np.full(labels.shape, -np.inf)
    skip[:, 3::2] = np.where(labels[:, 3::2] != labels[:, 1:-2:2], 0.0, -np.inf)
    return skip
