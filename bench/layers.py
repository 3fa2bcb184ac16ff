"""Recurrent layers beside PyTorch: a training step (forward, backward, all gradients) and inference.

    python bench/layers.py [--cells LSTM GRU RNN] [--largest H] [--threads 2] [--json FILE]

For each shape both run in one process, taking turns, on as many threads; outputs and gradients are compared
before anything is timed; printed are medians. PyTorch runs its own layers with their default kernels,
inference in inference mode. `peak` is this library's fraction of the multiply-add rate that its register tile
reaches on all threads at once, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

GRID = [
    (25, 1, 64, 64), (50, 1, 128, 128), (100, 16, 64, 64), (50, 32, 128, 128), (50, 32, 256, 256), (100, 64, 256, 256),
    (50, 64, 512, 512), (35, 20, 650, 650), (100, 1, 512, 512), (25, 128, 1024, 1024), (40, 10, 39, 100),
    (30, 7, 13, 50),
]  # fmt: skip
SETTLE = 0.005  # seconds: OpenMP's threads spin for a while after a run, and would take a core from whoever comes next
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def peak(threads: int) -> float:
    """Multiply-adds of the register tile alone, on data in the first-level cache, on all threads: flop per second."""
    from tinygrad_rnn.kernels.cpu.host import vector_unit
    from tinygrad_rnn.kernels.cpu.product import PANEL_VECTORS, products
    from tinygrad_rnn.kernels.cpu.tile import tile_rows

    unit = vector_unit()
    rows, width, depth = tile_rows(unit, PANEL_VECTORS) * 64, PANEL_VECTORS * unit.lanes(4), 64
    tiles = products(unit, 32).tiles

    def work() -> float:
        a, b, c = (np.zeros(n, np.float32) for n in (rows * depth, depth * width, rows * width))
        run = lambda: tiles(a.ctypes.data, depth, 1, b.ctypes.data, depth, rows, c.ctypes.data, width, False)
        run()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(100):
                run()
            times.append(time.perf_counter() - start)
        return 200.0 * rows * depth * width / statistics.median(times)

    work()
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: work(), range(threads)))


def pair(kind: str, shape: tuple[int, int, int, int]) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """(ours, PyTorch's) of training and of inference, with the same weights; each returns arrays to be compared."""
    import torch

    T, N, I, H = shape
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal((T, N, I)).astype("f"), rng.standard_normal((T, N, H)).astype("f")
    theirs, ours = getattr(torch.nn, kind)(I, H), getattr(nn, kind)(I, H)
    ours.load_state_dict(theirs.state_dict())
    tx, tu = torch.tensor(x, requires_grad=True), torch.tensor(u)
    ox, ou = tg.tensor(x, requires_grad=True), tg.tensor(u)

    def train_ours() -> list[Any]:
        ours.zero_grad()
        ox.grad = None
        output, _ = ours(ox)
        output.backward(ou)
        return [output, ox.grad, *(p.grad for p in ours.parameters())]

    def train_theirs() -> list[Any]:
        theirs.zero_grad()
        tx.grad = None
        output, _ = theirs(tx)
        output.backward(tu)
        return [output.detach(), tx.grad, *(p.grad for p in theirs.parameters())]

    def infer_ours() -> list[Any]:
        with tg.no_grad():
            return [ours(ox)[0]]

    def infer_theirs() -> list[Any]:
        with torch.inference_mode():
            return [theirs(tx)[0]]

    return {"train": (train_ours, train_theirs), "infer": (infer_ours, infer_theirs)}


def compare(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """Raise unless both give the same numbers."""
    for a, b in zip(ours(), theirs()):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(b).max())))


def time_both(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of each, taking turns, over about a second."""
    start = time.perf_counter()
    ours(), theirs()
    repeats = min(200, max(5, int(1.0 / (time.perf_counter() - start))))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, kept in zip((ours, theirs), times):
            time.sleep(SETTLE)
            start = time.perf_counter()
            run()
            kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--largest", type=int, default=4096, metavar="H", help="leave out larger hidden sizes")
    parser.add_argument("--threads", type=int, default=tg.get_num_threads())
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    tg.set_num_threads(args.threads)
    top = peak(args.threads)
    print(f"tile: {top / 1e9:.0f} Gflop/s on {args.threads} threads. Milliseconds; ratio: PyTorch's time / ours")
    records = []
    for kind in args.cells:
        ratios: dict[str, list[float]] = {"train": [], "infer": []}
        for shape in [s for s in GRID if s[3] <= args.largest]:
            T, N, I, H = shape
            line = f"{kind:5}{shape!s:22}"
            for what, (ours, theirs) in pair(kind, shape).items():
                compare(ours, theirs)
                a, b = time_both(ours, theirs)
                flops = (3 if what == "train" else 1) * 2.0 * T * N * (I + H) * GATES[kind] * H
                ratios[what].append(b / a)
                line += f" {what} {a * 1e3:9.3f} PyTorch {b * 1e3:9.3f} x{b / a:5.2f} peak {flops / a / top:4.0%} "
                records.append({"cell": kind, "shape": shape, "what": what, "ours": a, "pytorch": b, "flops": flops})
            print(line, flush=True)
        means = {what: math.exp(statistics.mean(map(math.log, r))) for what, r in ratios.items()}
        print(f"{kind}: geometric means: " + ", ".join(f"{what} x{mean:.2f}" for what, mean in means.items()))
    if args.json:
        machine = {"processor": platform.processor(), "python": platform.python_version(), "numpy": np.__version__}
        machine |= {"torch": torch.__version__, "threads": args.threads, "date": time.strftime("%Y-%m-%d")}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, "tile_flops": top, "records": records}, file, indent=1)


if __name__ == "__main__":
    main()
