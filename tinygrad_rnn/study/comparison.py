"""Claims that compare kinds of recurrent networks."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from .. import nn
from ..autograd.grad_modes import no_grad
from ..autograd.primitives.shape import concat
from ..tensor import Tensor
from ..tensor.creation import tensor, zeros
from .finding import Curves, Finding, Progress, claim, figure
from .training import Reader, accuracy, order, recall, train


class ElmanReader(Reader):
    """A reader whose RNN is trained as Elman did: the previous state is an input that no gradient passes through."""

    def forward(self, x: Any) -> Tensor:
        """Return the scores [T, N, classes]; the gradient passes through one step."""
        with no_grad():
            h = self.layer(x)[0]
        (steps, count, size), hidden = x.shape, self.layer.hidden_size
        before = concat([zeros(1, count, hidden), h[:-1]])
        output = self.layer(x.reshape(1, steps * count, size), before.reshape(1, steps * count, hidden))[0]
        return self.linear(output.reshape(steps, count, hidden))


@claim(
    "elman-and-jordan",
    "Elman's and Jordan's networks copy a state, and so remember without back-propagation through time.",
)
def elman_jordan(seed: int, progress: Progress) -> Finding:
    delays, curves = range(1, 7), {}
    kinds = {
        "Elman, gradient of one step": lambda: ElmanReader(nn.RNN(4, 32), 4),
        "Jordan of 4 outputs, BPTT": lambda: Reader(nn.JordanRNN(4, 32, 4), 4),
        "Elman's network, BPTT": lambda: Reader(nn.RNN(4, 32), 4),
    }
    for name, make in kinds.items():
        found = []
        for delay in delays:
            progress(f"{name}, {delay} steps")
            found.append(float(np.mean([_recalled(make(), delay, [seed, k]) for k in range(2)])))
        curves[name] = (list(delays), found)
    return Finding(
        ("right answers: the symbol of k steps ago, 2 seeds", *(f"k = {k}" for k in delays)),
        [(name, *map(figure, found)) for name, (_, found) in curves.items()],
        "qualified",
        "1/4 is chance. A copied state remembers, but without a gradient through time nothing trains what it should "
        "hold: the random weights keep two or three steps, not always. Jordan's network must pass its memory through "
        "its few outputs, which carry about as far even with the whole gradient. Elman's network with it reaches all.",
        Curves("steps back", "right answers", curves),
    )


def _recalled(model: Reader, delay: int, seeds: list[int]) -> float:
    """Train a model to recall the symbol of so many steps ago, and return the share of right answers."""
    generator = np.random.default_rng(seeds)
    train(model, lambda: recall(generator, delay), 400)
    x, target = recall(generator, delay, count=200)
    with no_grad():
        answers = model(tensor(x)).numpy().argmax(-1)
    return float((answers[delay:] == target[delay:]).mean())


VARIANTS = {
    "LSTM": "lstm",
    "peepholes": "peephole_lstm",
    "coupled gates": "cifg_peephole_lstm",
    "no output gate": "nog_lstm",
    "GRU": "gru",
}


@claim("lstm-variants", "The variants of the LSTM are about the same.")
def lstm_variants(seed: int, progress: Progress) -> Finding:
    seeds, rows, means = range(3), [], dict[str, list[float]]()
    for name, cell in VARIANTS.items():
        row = [name]
        for start, bias in (("default start", 0.0), ("bias 3", 3.0)):
            progress(f"{name}, {start}")
            found = [_ordered(cell, bias, [seed, k]) for k in seeds]
            row.append(f"{np.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})")
            means.setdefault(start, []).append(float(np.mean(found)))
        rows.append(tuple(row))
    by_start = float(np.mean(np.abs(np.diff(list(means.values()), axis=0))))
    by_variant = float(np.mean([abs(a - b) for found in means.values() for a, b in combinations(found, 2)]))
    return Finding(
        ("right answers, order of two marks in 50 steps", "default start", "bias 3 of the gate that keeps the state"),
        rows,
        "qualified",
        f"1/4 is chance; mean of 3 seeds, with the spread. The start of one gate moves a result by {by_start:.2f} on "
        f"average, another variant with the same start by {by_variant:.2f}. A comparison of variants that leaves the "
        "start out compares starts.",
        Curves("variant", "right answers", {start: (list(VARIANTS), found) for start, found in means.items()}),
    )


def _ordered(cell: str, bias: float, seeds: list[int]) -> float:
    """Train a cell on the order task, and return the share of right answers."""
    generator = np.random.default_rng(seeds)
    layer = nn.Recurrent(cell, 6, 24)
    _remembering(layer, bias)
    model = Reader(layer, 4)
    train(model, lambda: order(generator, 50), 200, 1e-2)
    return accuracy(model, order(generator, 50, 500))


def _remembering(layer: nn.Recurrent, bias: float) -> None:
    """Add to the bias of the gate that keeps the state: f up, or z of a GRU up, i of a coupled gate down."""
    gates, size = layer.step.gates, layer.hidden_size
    gate = next(gate for gate in "fzi" if gate in gates)
    rows = slice(gates.index(gate) * size, (gates.index(gate) + 1) * size)
    with no_grad():
        layer.bias_ih_l0[rows] += -bias if gate == "i" else bias
