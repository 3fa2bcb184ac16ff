"""Claims on back-propagation through time: truncated, and its memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np

from .. import nn
from ..autograd.functional import grad
from ..autograd.grad_modes import no_grad
from ..tensor.creation import tensor
from .clipping import cosine
from .finding import Curves, Finding, Progress, claim, figure, gradient_of
from .gradients import with_forget_bias

LENGTH, BATCH = 100, 16


def _detached(state: Any) -> Any:
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def _gradient(layer: Any, x: np.ndarray, u: np.ndarray, chunk: int, carried: bool) -> np.ndarray:
    """Return the gradient by the recurrent weights: the sum over chunks of so many steps. u: the cotangents of h."""
    layer.zero_grad()
    state = None
    for first in range(0, len(x), chunk):
        part = slice(first, first + chunk)
        output, state = layer(tensor(x[part]), state if carried else None)
        (output * tensor(u[part])).sum().backward()
        state = _detached(state)
    return gradient_of(layer.weight_hh_l0).ravel().astype("d")


@claim(
    "truncated-bptt", "Back-propagation through chunks of a sequence approximates the gradient of the whole sequence."
)
def truncated_bptt(seed: int, progress: Progress) -> Finding:
    draw = np.random.default_rng(seed).standard_normal
    x, u = draw((LENGTH, BATCH, 8)).astype("f"), draw((1, BATCH, 32)).astype("f").repeat(LENGTH, 0)
    chunks, rows, curves = (1, 5, 25, 100), [], {}
    layers = {"RNN": nn.RNN(8, 32), "LSTM, forget bias 3": with_forget_bias(nn.LSTM(8, 32), 3.0)}
    for name, layer in layers.items():
        full = _gradient(layer, x, u, LENGTH, True)
        for carried in (True, False):
            label = f"{name}, state {'carried' if carried else 'reset'}"
            found = [_gradient(layer, x, u, chunk, carried) for chunk in chunks]
            cosines = [cosine(g, full) if g.any() else 0.0 for g in found]
            sizes = [float(np.linalg.norm(g) / np.linalg.norm(full)) for g in found]
            rows.append((label, *(f"{c:.3f} ({figure(s, 2)})" for c, s in zip(cosines, sizes))))
            curves[label] = (chunks, cosines)
    return Finding(
        ("cosine with the full gradient (size)", *(f"chunks of {chunk}" for chunk in chunks)),
        rows,
        "qualified",
        "Good where the network's memory is shorter than a chunk, as in a fresh RNN; a network that remembers needs "
        "long chunks. The state must be carried from chunk to chunk: reset, chunks of 1 give the recurrent matrix no "
        "gradient at all.",
        Curves("steps of a chunk", "cosine with the full gradient", curves, log="x"),
    )


def _saved(layer: Any, steps: int, chunk: int) -> int:
    """Return the most bytes that training on a sequence allocates, beyond the layer and its input."""
    x, state = np.ones((steps, BATCH, 32), "f"), None
    inputs = [tensor(x[first : first + chunk]) for first in range(0, steps, chunk)]
    tracemalloc.start()
    try:
        for part in inputs:
            output, state = layer(part, state)
            output[-1].sum().backward()
            state, output = _detached(state), None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@claim("bptt-memory", "Back-propagation through time needs memory in proportion to the length of the sequence.")
def bptt_memory(seed: int, progress: Progress) -> Finding:
    lengths = (125, 500, 2000, 8000)
    make = {
        "whole sequence": lambda steps: (nn.LSTM(32, 64), steps),
        "chunks of 25": lambda steps: (nn.LSTM(32, 64), 25),
        "recompute_every = root of T": lambda steps: (nn.LSTM(32, 64, recompute_every=int(steps**0.5)), steps),
    }
    rows, curves = [], {}
    for name, build in make.items():
        progress(name)
        sizes = []
        for steps in lengths:
            layer, chunk = build(steps)
            _saved(layer, min(steps, 50), min(chunk, 50))  # compile, and make the workspaces
            layer.zero_grad()
            sizes.append(_saved(layer, steps, chunk) / 2**20)
        rows.append((name, *(f"{size:.2f} MiB" for size in sizes)))
        curves[name] = (lengths, sizes)
    return Finding(
        ("LSTM of 64 units, batch of 16", *(f"T = {steps}" for steps in lengths)),
        rows,
        "qualified",
        "True for the plain algorithm. Chunks need the memory of one chunk whatever the length, and recomputation "
        "gives the exact gradient while it saves only the output and the states of some steps.",
        Curves("T", "MiB at the peak", curves, log="xy"),
    )


@claim("carried-state", "A state that is carried from chunk to chunk makes them one sequence: no Markov assumption.")
def carried_state(seed: int, progress: Progress) -> Finding:
    x = np.random.default_rng(seed).standard_normal((LENGTH, BATCH, 8)).astype("f")
    other = x.copy()
    other[0] += 1.0
    rows = []
    for name, layer in (("RNN", nn.RNN(8, 32)), ("LSTM, forget bias 3", with_forget_bias(nn.LSTM(8, 32), 3.0))):
        whole, carried, reset = (_outputs(layer, x, *how) for how in ((LENGTH, True), (25, True), (25, False)))
        differ = np.linalg.norm(_outputs(layer, other, 25, True)[51] - carried[51])
        equal = f"{(carried == whole).mean():.0%}"
        rows.append((name, equal, figure(np.abs(reset - whole).max(), 2), figure(differ, 2)))
    return Finding(
        (
            "chunks of 25 in 100 steps",
            "equal to the last bit",
            "largest error, reset",
            "change of h_52 for another x_1",
        ),
        rows,
        "confirmed",
        "The outputs are those of the whole sequence, bit by bit. Output 52 depends on input 1, two chunks before "
        "it, as far as the cell remembers: only the gradient stops at a chunk.",
    )


def _outputs(layer: Any, x: np.ndarray, chunk: int, carried: bool) -> np.ndarray:
    state, found = None, []
    with no_grad():
        for first in range(0, len(x), chunk):
            output, state = layer(tensor(x[first : first + chunk]), state if carried else None)
            found.append(output.numpy())
    return np.concatenate(found)


@claim(
    "summed-gradient", "The gradient of a shared weight is a sum over the steps; a state gets none from earlier losses."
)
def summed_gradient(seed: int, progress: Progress) -> Finding:
    steps, layer = 12, nn.RNN(3, 5, bias=False, dtype="float64")
    draw = np.random.default_rng(seed).standard_normal
    x, u = tensor(draw((steps, 4, 3))), tensor(draw((steps, 4, 5)))
    (layer(x)[0] * u).sum().backward()
    shared = gradient_of(layer.weight_hh_l0)
    copies = [tensor(layer.weight_hh_l0.detach().numpy().copy(), requires_grad=True) for _ in range(steps)]
    h, states = tensor(np.zeros((4, 5))), []
    for t in range(steps):
        h = (x[t] @ layer.weight_ih_l0.T + h @ copies[t].T).tanh()
        states.append(h)
    each = [g.numpy() for g in grad(sum((states[t] * u[t]).sum() for t in range(steps)), copies)]
    earlier = grad(sum((states[t] * u[t]).sum() for t in range(5)), states[5], allow_unused=True)[0]
    return Finding(
        ("figure", "value"),
        [
            ("sum of 12 gradients, one for each step's own copy, relative error", figure(_error(sum(each), shared), 2)),
            ("norm of the first term, as h_0 = 0", figure(np.linalg.norm(each[0]))),
            ("terms that are not 0", f"{sum(bool(g.any()) for g in each)} of {steps}"),
            (
                "gradient of the losses 1 to 5 by h_6",
                "none" if earlier is None else figure(np.abs(earlier.numpy()).max()),
            ),
        ],
        "confirmed",
        "The recurrent matrix has T - 1 terms that are not 0 if the first state is 0, and T if it is not.",
    )


def _error(found: Any, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())
