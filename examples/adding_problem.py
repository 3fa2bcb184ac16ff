"""The adding problem: remember two numbers of a long sequence and return their sum.

Each sequence has T pairs (value, mark), with values uniform in [0, 1). Two steps are marked, one in each half; the
target is the sum of the two marked values. A model that ignores the sequence does best with the constant 1, which has a
mean squared error of 1/6 = 0.167. A better model must carry a value over as many as T steps.

Hochreiter and Schmidhuber, Long short-term memory (1997), experiment 4.

    python examples/adding_problem.py --length 50
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

BASELINE = 1 / 6


def batch(rng: np.random.Generator, length: int, size: int) -> tuple[tg.Tensor, tg.Tensor]:
    """Return x [length, size, 2] and the targets [size, 1], both float32."""
    x = np.zeros((length, size, 2), "float32")
    x[:, :, 0] = rng.random((length, size))
    half, rows = length // 2, np.arange(size)
    first, second = rng.integers(0, half, size), rng.integers(half, length, size)
    x[first, rows, 1] = x[second, rows, 1] = 1
    return tg.tensor(x), tg.tensor(x[first, rows, :1] + x[second, rows, :1])


class Adder(nn.Module):
    """y = W h_T + b, h_T the last state of an LSTM over x [T, N, 2]; y [N, 1]."""

    def __init__(self, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(2, hidden)
        self.sum = nn.Linear(hidden, 1)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        _, (h_n, _) = self.lstm(x)
        return self.sum(h_n[0])


def error(model: Adder, x: tg.Tensor, target: tg.Tensor) -> tg.Tensor:
    """Return the mean squared error."""
    return ((model(x) - target) ** 2).mean()


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the mean squared error on new sequences."""
    options = argparse.ArgumentParser(description="The adding problem with an LSTM.")
    options.add_argument("--length", type=int, default=30, help="steps of a sequence (default: 30)")
    options.add_argument("--steps", type=int, default=500, help="training steps (default: 500)")
    options.add_argument("--hidden", type=int, default=32, help="hidden units (default: 32)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and data (default: 0)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = Adder(args.hidden)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    start = time.perf_counter()
    for step in range(1, args.steps + 1):
        loss = error(model, *batch(rng, args.length, 50))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:5}  error {loss.item():.4f}  {time.perf_counter() - start:.1f} s")

    with tg.no_grad():
        final = error(model, *batch(rng, args.length, 1000)).item()
    print(f"error on 1000 new sequences: {final:.4f}; error of the constant 1: {BASELINE:.4f}")
    return final


if __name__ == "__main__":
    if main() > BASELINE / 4:
        raise SystemExit("the LSTM did not learn to add: expected a quarter of the constant's error at most")
