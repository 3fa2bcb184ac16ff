"""Recurrent layers beside PyTorch, ONNX Runtime and OpenVINO: a training step (forward, backward, all gradients;
PyTorch alone) and inference.

    python bench/layers.py [--cells LSTM GRU RNN] [--largest H] [--threads 2] [--json FILE]

All run in one process, taking turns, on as many threads; outputs and gradients are compared before anything is timed;
printed are medians. A turn is some milliseconds of rest, in which the threads of whoever ran before go to sleep, a call
that is not timed, and some that are. PyTorch runs its own layers, inference in inference mode; the others a model of
one operator (`peers`). A peer that is not installed is left out, visibly. `peak` is this library's fraction of the
multiply-add rate that its register tile reaches on all threads at once, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import peers

import tinygrad_rnn as tg
from tinygrad_rnn import nn

GRID = [
    (25, 1, 64, 64), (50, 1, 128, 128), (100, 16, 64, 64), (50, 32, 128, 128), (50, 32, 256, 256), (100, 64, 256, 256),
    (50, 64, 512, 512), (35, 20, 650, 650), (100, 1, 512, 512), (25, 128, 1024, 1024), (40, 10, 39, 100),
    (30, 7, 13, 50),
]  # fmt: skip
REST = 0.02  # seconds: OpenMP's threads spin for a while after a run, and would take a core from whoever comes next
TURN = 0.02  # seconds that a turn may take, if one call does not take longer
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OURS, TORCH = "tinygrad_rnn", "torch"
Runs = dict[str, Callable[[], Any]]


def peak(threads: int) -> float:
    """The best rate of the register tile alone, on data in the first two caches, on all threads: flop per second."""
    from tinygrad_rnn.kernels.cpu.host import vector_unit
    from tinygrad_rnn.kernels.cpu.passes import Recorder
    from tinygrad_rnn.kernels.cpu.product import PANEL_VECTORS
    from tinygrad_rnn.kernels.cpu.tile import tile_rows

    r = Recorder(np.dtype(np.float32), threads, vector_unit())
    rows, depth, width = tile_rows(r.unit, PANEL_VECTORS) * 64 * threads, 64, PANEL_VECTORS * r.lanes
    a, panels, out = r.make(rows, depth), r.make(width, depth), r.make(rows, width)
    for spot in (a, panels, out):
        r.fill(spot)
    for _ in range(200):
        r.multiply(a, False, panels, width, out)
    work = r.finish()
    times = []
    for _ in range(50):
        start = time.perf_counter()
        work.run({})
        times.append(time.perf_counter() - start)
    return 400.0 * rows * depth * width / min(times)


def training_step(layer: Any, x: Any, u: Any, **options: Any) -> Callable[[], list[Any]]:
    """Forward, and backward of the output's product with u; gives the output and all gradients. For either library."""

    def step() -> list[Any]:
        layer.zero_grad()
        x.grad = None
        output = layer(x, **options)[0]
        output.backward(u)
        return [output.detach(), x.grad, *(p.grad for p in layer.parameters())]

    return step


def candidates(kind: str, shape: tuple[int, int, int, int], threads: int) -> dict[str, Runs]:
    """For training and inference, who can do it, with the same weights; each returns arrays to be compared."""
    import torch

    T, N, I, H = shape
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal((T, N, I)).astype("f"), rng.standard_normal((T, N, H)).astype("f")
    theirs, ours = getattr(torch.nn, kind)(I, H), getattr(nn, kind)(I, H)
    ours.load_state_dict(theirs.state_dict())
    tx, tu = torch.tensor(x, requires_grad=True), torch.tensor(u)
    ox, ou = tg.tensor(x, requires_grad=True), tg.tensor(u)

    def infer_ours() -> list[Any]:
        with tg.no_grad():
            return [ours(ox)[0]]

    def infer_theirs() -> list[Any]:
        with torch.inference_mode():
            return [theirs(tx)[0]]

    infer: Runs = {OURS: infer_ours, TORCH: infer_theirs}
    for name, make in peers.INFERENCE.items():
        if installed(name):
            run = make(peers.onnx_model(kind, theirs, shape), x, threads)
            infer[name] = lambda run=run: [run()]
    return {"train": {OURS: training_step(ours, ox, ou), TORCH: training_step(theirs, tx, tu)}, "infer": infer}


def installed(name: str) -> str:
    """The version of a package, or "" where it is not there."""
    try:
        return version(name) if name not in peers.INFERENCE or version("onnx") else ""
    except PackageNotFoundError:
        return ""


def compare(runs: Runs) -> None:
    """Raise unless all give the same numbers."""
    expected = runs[OURS]()
    for name in runs.keys() - {OURS}:
        for a, b in zip(expected, runs[name]()):
            a, b = np.asarray(a), np.asarray(b)
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(b).max())), err_msg=name)


def timed(runs: Runs, seconds: float) -> dict[str, float]:
    """Median seconds of each, taking turns, each for about so long and at least five times."""
    start = time.perf_counter()
    for run in runs.values():
        run()
    once = (time.perf_counter() - start) / len(runs)
    calls = max(1, int(TURN / once))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(max(5, int(seconds / (calls * once + REST)))):
        for name, run in runs.items():
            time.sleep(REST)
            run()
            for _ in range(calls):
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def geometric_mean(ratios: list[float]) -> float:
    return math.exp(statistics.mean(map(math.log, ratios)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--largest", type=int, default=4096, metavar="H", help="leave out larger hidden sizes")
    parser.add_argument("--threads", type=int, default=tg.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.5, help="for each to be timed, about (0.5)")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    tg.set_num_threads(args.threads)
    top = peak(args.threads)
    versions = {name: installed(name) for name in (TORCH, *peers.INFERENCE)}
    print("peers: " + ", ".join(f"{name} {number or '(not installed: left out)'}" for name, number in versions.items()))
    print(f"tile: {top / 1e9:.0f} Gflop/s on {args.threads} threads. Milliseconds; ratio: the best peer's time / ours")
    records = []
    for kind in args.cells:
        ratios: dict[str, list[float]] = {"train": [], "infer": []}
        for shape in [s for s in GRID if s[3] <= args.largest]:
            T, N, I, H = shape
            line = f"{kind:5}{shape!s:22}"
            for what, runs in candidates(kind, shape, args.threads).items():
                compare(runs)
                times = timed(runs, args.seconds)
                ours, best = times[OURS], min(t for name, t in times.items() if name != OURS)
                flops = (3 if what == "train" else 1) * 2.0 * T * N * (I + H) * GATES[kind] * H
                ratios[what].append(best / ours)
                others = " ".join(f"{name} {t * 1e3:.3f}" for name, t in times.items() if name != OURS)
                line += f" {what} {ours * 1e3:.3f} {others} x{best / ours:.2f} peak {flops / ours / top:.0%} "
                records.append({"cell": kind, "shape": shape, "what": what, "seconds": times, "flops": flops})
            print(line, flush=True)
        means = {what: f"x{geometric_mean(r):.2f} ({min(r):.2f} to {max(r):.2f})" for what, r in ratios.items()}
        print(f"{kind}: geometric means: " + ", ".join(f"{what} {mean}" for what, mean in means.items()))
    if args.json:
        machine = {"processor": platform.processor(), "python": platform.python_version(), "numpy": np.__version__}
        machine |= {**versions, "threads": args.threads, "date": time.strftime("%Y-%m-%d")}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, "tile_flops": top, "records": records}, file, indent=1)


if __name__ == "__main__":
    main()
