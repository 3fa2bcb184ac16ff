"""Claims on gradients that pass through many steps: they vanish, explode, or neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..autograd.functional import grad
from ..autograd.grad_modes import no_grad
from ..nn.utils import state_gradients
from ..tensor.creation import randn, tensor
from .finding import Curves, Finding, Progress, claim, figure

LAYERS: dict[str, Callable[..., Any]] = {
    "RNN": nn.RNN,
    "GRU": nn.GRU,
    "LSTM": nn.LSTM,
    "LSTM, forget bias 3": lambda *sizes, **options: with_forget_bias(nn.LSTM(*sizes, **options), 3.0),
}


def with_forget_bias(layer: Any, value: float) -> Any:
    """Set the forget gate's bias of a one-layer LSTM, the sum of bias_ih and bias_hh, and return the layer."""
    rows = slice(layer.hidden_size, 2 * layer.hidden_size)
    with no_grad():
        layer.bias_ih_l0[rows] = value
        layer.bias_hh_l0[rows] = 0.0
    return layer


@claim(
    "repeated-factor",
    "A gradient that is multiplied by 1.1 in each of 65 steps grows to 117, and by 0.9 falls to .005.",
)
def repeated_factor(seed: int, progress: Progress) -> Finding:
    counts = (50, 65)
    found = {}
    for weight in (1.1, 0.9):
        for count in counts:
            start = h = tensor(1.0, dtype="float64", requires_grad=True)
            for _ in range(count):
                h = h * weight
            found[weight, count] = float(grad(h, start)[0].item())
    steps = np.arange(66)
    return Finding(
        ("factor", *(f"after {count} steps" for count in counts)),
        [(str(w), *(figure(found[w, count]) for count in counts)) for w in (1.1, 0.9)],
        "wrong",
        "These numbers belong to 50 repetitions. From step 115 back to step 50 there are 65, which give about 490 and "
        ".0011. The conclusion is right, and stronger than stated.",
        Curves("steps", "gradient", {f"factor {w}": (steps, w**steps) for w in (1.1, 0.9)}, log="y"),
    )


def norms(layer: Any, seed: int, steps: int = 100, batch: int = 16) -> np.ndarray:
    """Return the norm of dL/dh_t for each step [steps]; L is a random sum over the last output, x standard normal."""
    draw = np.random.default_rng(seed).standard_normal
    x, u = draw((steps, batch, layer.input_size)), draw((batch, layer.hidden_size))
    found = state_gradients(layer, tensor(x, dtype="float32"), lambda output, _: (output[-1] * u.astype("f")).sum())
    return np.sqrt(np.square(found["h"].numpy().astype("d")).sum((0, 2, 3)))


@claim("vanishing-gradient", "The gradient of an RNN vanishes through time; that of an LSTM or a GRU does not.")
def vanishing_gradient(seed: int, progress: Progress) -> Finding:
    curves, rows = {}, []
    for name, make in LAYERS.items():
        progress(name)
        norm = norms(make(8, 32), seed)
        back = norm[::-1] / norm[-1]
        curves[name] = (np.arange(100), back)
        rows.append((name, figure(back[-1] ** (1 / 99), 2), figure(back[-1], 2)))
    return Finding(
        ("layer (8 inputs, 32 units)", "factor per step", "after 99 steps"),
        rows,
        "qualified",
        "At the default start the gates of an LSTM or a GRU are half open, so each step leaves about .6 of the "
        "gradient, nearly as in an RNN. A forget bias of 3 opens the gate: then the gradient of the LSTM arrives. "
        "The additive path makes long gradients possible; the start decides whether they are there.",
        Curves("steps back", "norm of dL/dh, relative", curves, log="y"),
    )


@claim("state-memory", "An RNN forgets its early inputs after many steps, where an LSTM carries them along.")
def state_memory(seed: int, progress: Progress) -> Finding:
    draw = np.random.default_rng(seed).standard_normal
    x = np.repeat(draw((51, 16, 1, 8)), 2, 2)
    x[0, :, 1] += 0.01 * draw((16, 8))
    curves, rows = {}, []
    for name, make in LAYERS.items():
        progress(name)
        layer = make(8, 32, dtype="float64", return_states=True)
        with no_grad():
            sequences = layer(tensor(x.reshape(51, 32, 8)))[2]
        states = np.concatenate([s.numpy()[0].reshape(51, 16, 2, -1) for s in sequences], -1)
        apart = np.sqrt(np.square(states[:, :, 1] - states[:, :, 0]).sum((1, 2)))
        curves[name] = (np.arange(51), apart / apart[0])
        rows.append((name, *(figure(apart[k] / apart[0], 2) for k in (10, 25, 50))))
    return Finding(
        ("layer", "after 10 steps", "after 25", "after 50"),
        rows,
        "qualified",
        "Two sequences differ in their first input alone; the figures are the distance of their states, relative to "
        "the first step. A fresh LSTM forgets as an RNN does; one with a forget bias of 3 remembers. The names of the "
        "layers say what they can learn, not what they do at first.",
        Curves("steps", "distance of the states, relative", curves, log="y"),
    )


def _matrices() -> dict[str, np.ndarray]:
    """Return recurrent matrices [8, 8] whose largest singular value says little."""
    random = np.random.default_rng(0).standard_normal((8, 8))
    orthogonal = np.linalg.qr(random)[0]
    return {
        "0.9 x orthogonal": 0.9 * orthogonal,
        "1.1 x orthogonal": 1.1 * orthogonal,
        "shift with end, 2s": 2.0 * np.eye(8, k=1),
        "cyclic shift, 2 and 1/2": np.roll(np.eye(8), 1, axis=1) * np.tile([[2.0], [0.5]], (4, 1)),
        "random, scaled to 1.3": 1.3 * random / np.linalg.norm(random, 2),
        "1/2 with 2s above": 0.5 * np.eye(8) + 2.0 * np.eye(8, k=1),
    }


@claim("singular-value", "The gradient explodes where the recurrent matrix has a largest singular value above 1.")
def singular_value(seed: int, progress: Progress) -> Finding:
    counts, curves, rows = (5, 20, 200), {}, []
    for name, matrix in _matrices().items():
        weight, last = tensor(matrix), randn(8, dtype="float64")
        sizes = []
        for count in range(1, 201):
            if count > 40 and count not in counts:
                continue
            h = start = tensor(np.zeros(8), requires_grad=True)
            for _ in range(count):
                h = h @ weight.T
            gradient = grad(h, start, last)[0].numpy()
            sizes.append((count, float(np.linalg.norm(gradient) / np.linalg.norm(last.numpy()))))
        size = dict(sizes)
        values = [np.linalg.norm(matrix, 2), np.abs(np.linalg.eigvals(matrix)).max()]
        rows.append((name, *map(figure, values), *(figure(size[count], 2) for count in counts)))
        shown = [(count, s) for count, s in sizes if count <= 40 and s > 0]
        curves[name] = ([count for count, _ in shown], [s for _, s in shown])
    return Finding(
        ("recurrent matrix", "singular value", "eigenvalue", *(f"after {count} steps" for count in counts)),
        rows,
        "qualified",
        "A largest singular value above 1 is necessary, not sufficient: the shift with an end sends every gradient "
        "to exactly 0 in 8 steps, the cyclic one keeps it bounded for ever, and the gradient of the random matrix "
        "vanishes. Below 1 the gradient does vanish. Over many steps the largest eigenvalue decides; over few, as in "
        "the last row, a gradient can grow first even where all eigenvalues are below 1.",
        Curves("steps back", "norm of the gradient, relative", curves, log="y"),
    )
