"""Claims on back-propagation through time: truncated, and its memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np

from .. import nn
from ..tensor import Tensor
from ..tensor.creation import tensor
from .clipping import cosine
from .finding import Curves, Finding, Progress, claim, figure
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
    return layer.weight_hh_l0.grad.numpy().ravel().astype("d")


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
            curves[label] = (np.log10(chunks), cosines)
    return Finding(
        ("cosine with the full gradient (size)", *(f"chunks of {chunk}" for chunk in chunks)),
        rows,
        "qualified",
        "Good where the network's memory is shorter than a chunk, as in a fresh RNN; a network that remembers needs long "
        "chunks. The state must be carried from chunk to chunk: reset, chunks of 1 give the recurrent matrix no "
        "gradient at all.",
        Curves("log10 of the chunk", "cosine with the full gradient", curves),  # type: ignore[arg-type]
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
        curves[name] = (np.log10(lengths), sizes)
    return Finding(
        ("LSTM of 64 units, batch of 16", *(f"T = {steps}" for steps in lengths)),
        rows,
        "qualified",
        "True for the plain algorithm. Chunks need the memory of one chunk whatever the length, and recomputation gives "
        "the exact gradient while it saves only the output and the states of some steps.",
        Curves("log10 of T", "MiB at the peak", curves, log=True),  # type: ignore[arg-type]
    )
