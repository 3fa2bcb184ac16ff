"""Cells of one's own beside the built-in LSTM, beside the same cell as a loop in PyTorch, and a single step.

    python bench/cells.py [--compile] [--threads 2] [--json FILE]

The first table: the training step of each cell that the tests define, and its arithmetic per second as a fraction of
the LSTM's; counted are the matrix products (3 times the forward's), not the pointwise work. The second: a peephole LSTM
against the same equations as a loop of PyTorch operations, with --compile also under `torch.compile`, which takes
minutes. The third: one step of a layer in inference, N = 1, and how much of the call is not the kernel.
Outputs and gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from layers import OURS, compare, timed, training_step

import tinygrad_rnn as tg
from tinygrad_rnn import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from user_cells import USER_CELLS

SHAPE = (50, 32, 256, 256)
PEEPHOLE = (100, 16, 64, 64)
CELLS = [
    "minimal_gated", "ind_rnn", "zoneout_lstm", "recurrent_dropout_lstm", "depth_gated_lstm", "clockwork", "slstm"
]  # fmt: skip


def of_cell(cell: Any, shape: tuple[int, int, int, int]) -> tuple[Callable[[], Any], float]:
    """A training step of a cell, and its flops in matrix products."""
    T, N, I, H = shape
    rng = np.random.default_rng(0)
    layer = nn.Recurrent(cell, I, H)
    x = tg.tensor(rng.standard_normal((T, N, I)).astype("f"), requires_grad=True)
    u = tg.tensor(rng.standard_normal((T, N, H)).astype("f"))
    inputs = {name: tg.tensor(rng.integers(0, 2, (T, N, H)).astype("f")) for name in layer.step.inputs} or None
    products = len(layer.step.direct_gates) + len(layer.step.products)

    return training_step(layer, x, u, inputs=inputs), 6.0 * T * N * H * (I * len(layer.step.input_gates) + H * products)


def peephole(shape: tuple[int, int, int, int], compiled: bool) -> dict[str, Callable[[], Any]]:
    """The training step of a peephole LSTM here and as a loop in PyTorch, with the same weights."""
    import torch

    T, N, I, H = shape
    rng = np.random.default_rng(0)
    layer = nn.Recurrent("peephole_lstm", I, H)
    x, u = rng.standard_normal((T, N, I)).astype("f"), rng.standard_normal((T, N, H)).astype("f")
    ours_x, ours_u = tg.tensor(x, requires_grad=True), tg.tensor(u)
    theirs = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in layer.named_parameters()}
    theirs_x, theirs_u = torch.tensor(x, requires_grad=True), torch.tensor(u)

    def loop(x: Any) -> Any:
        w = {name.removesuffix("_l0"): p for name, p in theirs.items()}
        projected = torch.nn.functional.linear(x, w["weight_ih"], w["bias_ih"] + w["bias_hh"])
        h, c, outputs = torch.zeros(N, H), torch.zeros(N, H), []
        for t in range(T):
            i, f, g, o = (projected[t] + h @ w["weight_hh"].T).chunk(4, 1)
            i, f = torch.sigmoid(i + w["p_i"] * c), torch.sigmoid(f + w["p_f"] * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + w["p_o"] * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs)

    def step_of(run: Callable[[Any], Any]) -> Callable[[], list[Any]]:
        def step() -> list[Any]:
            for p in (theirs_x, *theirs.values()):
                p.grad = None
            output = run(theirs_x)
            output.backward(theirs_u)
            return [output.detach(), theirs_x.grad, *(p.grad for p in theirs.values())]

        return step

    runs = {OURS: training_step(layer, ours_x, ours_u), "torch loop": step_of(loop)}
    return runs | ({"torch.compile": step_of(torch.compile(loop))} if compiled else {})


def one_step(kind: str, H: int) -> tuple[float, float]:
    """Seconds of a call of one step, N = 1, and of those the kernels' part, in inference."""
    from tinygrad_rnn.kernels.cpu import threads

    layer, x = getattr(nn, kind)(H, H), tg.tensor(np.ones((1, 1, H), "f"))
    run, within, calls = threads.run, list[float](), list[float]()

    def watched(jobs: int, count: int) -> None:
        start = time.perf_counter()
        run(jobs, count)
        within.append(time.perf_counter() - start)

    with tg.no_grad():
        _, state = layer(x)
        for _ in range(5000):
            start = time.perf_counter()
            layer(x, state)
            calls.append(time.perf_counter() - start)
        threads.run = watched
        try:
            for _ in range(5000):
                layer(x, state)
        finally:
            threads.run = run
    return statistics.median(calls), statistics.median(within)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="also under torch.compile: minutes")
    parser.add_argument("--threads", type=int, default=tg.get_num_threads())
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    import torch

    tg.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    steps = {"lstm": of_cell("lstm", SHAPE)} | {name: of_cell(USER_CELLS[name], SHAPE) for name in CELLS}
    times = timed({name: step for name, (step, _) in steps.items()}, 1.0)
    rate = {name: flops / times[name] for name, (_, flops) in steps.items()}
    print(f"training step at {SHAPE}, {args.threads} threads")
    for name in steps:
        print(f"{name:24} {times[name] * 1e3:8.2f} ms {rate[name] / 1e9:6.0f} Gflop/s x{rate[name] / rate['lstm']:.2f}")

    runs = peephole(PEEPHOLE, args.compile)
    compare(runs)
    found = timed(runs, 1.0)
    print(f"peephole LSTM, training step at {PEEPHOLE}")
    for name, seconds in found.items():
        print(f"{name:24} {seconds * 1e3:8.2f} ms x{seconds / found[OURS]:.1f}")

    print("one step in inference, N = 1")
    single = {}
    for kind, H in (("LSTM", 64), ("GRU", 64), ("RNN", 64), ("LSTM", 512)):
        call, kernel = single[f"{kind} {H}"] = one_step(kind, H)
        print(f"{kind} H={H:<18} {call * 1e6:8.1f} us, kernels {kernel * 1e6:.1f} us")
    if args.json:
        machine = {"processor": platform.processor(), "python": platform.python_version(), "torch": torch.__version__}
        machine |= {"threads": args.threads, "date": time.strftime("%Y-%m-%d")}
        records = {"cells": {"shape": SHAPE, "seconds": times, "flops_per_second": rate}}
        records |= {"peephole": {"shape": PEEPHOLE, "seconds": found}, "one_step": single}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, **records}, file, indent=1)


if __name__ == "__main__":
    main()
