"""A custom cell: its equations in a few lines, trained like the built-in ones.

The minimal gated unit has one gate; a GRU has two. From the equations alone the library derives the gradient and
compiles the kernels, and the cell works with several layers, both directions and unequal lengths, like the LSTM.

The task: for a stream of random bits, tell at each step whether the bits of this step and of `delay` steps before
differ (their exclusive or). A guess is right half of the time.

Zhou, Wu, Zhang and Zhou, Minimal gated unit for recurrent neural networks (2016), eq. 1-3.

    python examples/own_cell.py --cell gru
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, sigmoid, tanh
from tinygrad_rnn.cells import cell


@cell(gates="fn")
def minimal_gated(a: Any, s: Any) -> Any:
    """f = sigmoid(f's pre-activation), n = tanh(W_n x + U_n (f h)), h' = (1 - f) h + f n, with biases."""
    f = sigmoid(a.f)
    n = tanh(a.n.x + a.n.recurrent(f * s.h))
    return (1 - f) * s.h + f * n


def batch(rng: np.random.Generator, delay: int, length: int = 30, size: int = 50) -> tuple[tg.Tensor, tg.Tensor]:
    """Return bits [length, size, 1] as -1 and 1, and targets [length - delay, size, 1]: 1 if two bits differ."""
    bits = rng.integers(0, 2, (length, size, 1))
    return tg.tensor((2 * bits - 1).astype("float32")), tg.tensor((bits[delay:] ^ bits[:-delay]).astype("float32"))


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the fraction of right answers on new streams."""
    options = argparse.ArgumentParser(description="Delayed exclusive or with a custom cell.")
    options.add_argument(
        "--cell", default="minimal_gated", help="minimal_gated (default), or a built-in cell: gru, lstm, ..."
    )
    options.add_argument("--delay", type=int, default=2, help="steps between the two bits (default: 2)")
    options.add_argument("--steps", type=int, default=600, help="training steps (default: 600)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and data (default: 0)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    layer = nn.Recurrent(minimal_gated if args.cell == "minimal_gated" else args.cell, 1, 24)
    readout = nn.Linear(24, 1)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer = optim.Adam(parameters, lr=0.01)

    def logits(bits: tg.Tensor) -> tg.Tensor:
        output, _ = layer(bits)
        return readout(output)[args.delay :]

    for step in range(1, args.steps + 1):
        bits, differ = batch(rng, args.delay)
        loss = nn.functional.binary_cross_entropy_with_logits(logits(bits), differ)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:4}  loss {loss.item():.4f}")

    with tg.no_grad():
        bits, differ = batch(rng, args.delay, size=500)
        right = float(((logits(bits).numpy() > 0) == (differ.numpy() > 0.5)).mean())
    print(f"right answers on 500 new streams: {right:.1%}")
    return right


if __name__ == "__main__":
    if main() < 0.9:
        raise SystemExit("the cell did not learn: expected 90 % right answers at least")
