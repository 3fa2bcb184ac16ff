"""Claims that compare kinds of recurrent networks."""

from __future__ import annotations

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


@claim("elman-jordan", "Elman's and Jordan's networks copy a state, and so remember without back-propagation through time.")
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
            generator = np.random.default_rng(seed)
            model = make()
            train(model, lambda: recall(generator, delay), 400)  # noqa: B023  called at once
            x, target = recall(generator, delay, count=200)
            scores_from = slice(delay, None)
            with no_grad():
                answers = model(tensor(x)).numpy().argmax(-1)
            found.append(float((answers[scores_from] == target[scores_from]).mean()))
        curves[name] = (list(delays), found)
    return Finding(
        ("right answers: the symbol of k steps ago", *(f"k = {k}" for k in delays)),
        [(name, *map(figure, found)) for name, (_, found) in curves.items()],
        "qualified",
        "1/4 is chance. Without a gradient through time the state holds what chance has left in it, enough for a step or "
        "two. Jordan's network must pass its memory through its few outputs. The gradient through time makes the rest.",
        Curves("steps back", "right answers", curves),
    )


VARIANTS = ("lstm", "peephole_lstm", "cifg_peephole_lstm", "nog_lstm", "gru")


@claim("lstm-variants", "The variants of the LSTM are about the same.")
def lstm_variants(seed: int, progress: Progress) -> Finding:
    seeds, rows, means = range(3), [], dict[str, list[float]]()
    for name in VARIANTS:
        row = [name]
        for bias in (0.0, 3.0):
            found = []
            for k in seeds:
                progress(f"{name}, bias {bias:.0f}, seed {k + 1} of {len(seeds)}")
                generator = np.random.default_rng([seed, k])
                layer = nn.Recurrent(name, 6, 24)
                _remembering(layer, bias)
                model = Reader(layer, 4)
                train(model, lambda: order(generator), 300)  # noqa: B023  called at once
                found.append(accuracy(model, order(generator, count=500)))
            row.append(f"{np.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})")
            means.setdefault(f"bias {bias:.0f}", []).append(float(np.mean(found)))
        rows.append(tuple(row))
    by_variant = float(np.mean([np.ptp(found) for found in means.values()]))
    by_start = float(np.mean(np.abs(np.subtract(*means.values()))))
    return Finding(
        ("cell of 24 units, order task, 3 seeds", "default start", "gate that keeps the state: bias 3"),
        rows,
        "qualified",
        f"The start moves the result by {by_start:.2f} on average; the best and the worst variant with one start are "
        f"{by_variant:.2f} apart. Comparisons of variants that leave the start out compare starts.",
        Curves("variant: " + ", ".join(VARIANTS), "right answers", {k: (range(5), v) for k, v in means.items()}),
    )


def _remembering(layer: nn.Recurrent, bias: float) -> None:
    """Add to the bias of the gate that keeps the state: f up, or z of a GRU up, or i of a coupled gate down."""
    gates, size = layer.step.gates, layer.hidden_size
    gate = next(gate for gate in "fzi" if gate in gates)
    rows = slice(gates.index(gate) * size, (gates.index(gate) + 1) * size)
    with no_grad():
        layer.bias_ih_l0[rows] += -bias if gate == "i" else bias
