"""The tape's cost per primitive: 20 x tanh(y @ b + a) on 4x4 float32, forward and backward, beside its peers.

    python bench/tape.py [--json FILE]

On arrays this small, arithmetic is next to nothing: what is timed is what each library does around it. All
peers run in one process, taking turns, so that a change in the machine's mood hits all alike; values and gradients
are compared before anything is timed. Gradients are taken of both a and b. PyTorch runs on one thread, its best
setting here. A peer that is not installed is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

LENGTH = 20
PRIMITIVES = 3 * LENGTH  # a product, a sum and a tanh each
Run = Callable[[], tuple[Any, Any]]


def ours(y0: np.ndarray, a0: np.ndarray, b0: np.ndarray) -> Run:
    """tinygrad_rnn."""
    y, a, b = tg.tensor(y0), tg.tensor(a0, requires_grad=True), tg.tensor(b0, requires_grad=True)

    def run() -> tuple[Any, Any]:
        a.grad = b.grad = None
        x = y
        for _ in range(LENGTH):
            x = tg.tanh(x @ b + a)
        x.sum().backward()
        return a.grad, b.grad

    return run


def pytorch(y0: np.ndarray, a0: np.ndarray, b0: np.ndarray) -> Run:
    """PyTorch, one thread."""
    import torch

    torch.set_num_threads(1)
    y, a, b = torch.tensor(y0), torch.tensor(a0, requires_grad=True), torch.tensor(b0, requires_grad=True)

    def run() -> tuple[Any, Any]:
        a.grad = b.grad = None
        x = y
        for _ in range(LENGTH):
            x = torch.tanh(x @ b + a)
        x.sum().backward()
        return a.grad, b.grad

    return run


def hips_autograd(y0: np.ndarray, a0: np.ndarray, b0: np.ndarray) -> Run:
    """HIPS autograd."""
    import autograd
    import autograd.numpy as anp

    def loss(a: Any, b: Any) -> Any:
        x = y0
        for _ in range(LENGTH):
            x = anp.tanh(anp.dot(x, b) + a)
        return anp.sum(x)

    gradients = autograd.grad(loss, (0, 1))
    return lambda: gradients(a0, b0)


PEERS = {"tinygrad_rnn": ours, "PyTorch": pytorch, "HIPS autograd": hips_autograd}


def measure(repeats: int = 300) -> dict[str, float]:
    """Median seconds of each installed peer's forward and backward, taking turns."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((4, 4)).astype(np.float32) * 0.5 for _ in range(3)]
    runs: dict[str, Run] = {}
    for name, make in PEERS.items():
        try:
            runs[name] = make(*arrays)
        except ImportError:
            print(f"{name}: not installed, left out", file=sys.stderr)
    expected = [np.asarray(g) for g in runs["tinygrad_rnn"]()]
    for name, run in runs.items():
        for _ in range(20):
            found = run()
        for g, e in zip(found, expected):
            np.testing.assert_allclose(np.asarray(g), e, rtol=1e-4, atol=1e-5, err_msg=name)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="also write the figures to a file")
    args = parser.parse_args()
    medians = measure()
    base = medians["tinygrad_rnn"]
    print(f"{'':16}{'us in all':>12}{'us / primitive':>16}{'time / ours':>14}")
    for name, seconds in medians.items():
        print(f"{name:16}{seconds * 1e6:12.0f}{seconds * 1e6 / PRIMITIVES:16.2f}{seconds / base:14.2f}")
    if args.json:
        record = {
            "what": "20 x tanh(y @ b + a), 4x4 float32, forward and backward",
            "seconds": medians,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "date": time.strftime("%Y-%m-%d"),
        }
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
