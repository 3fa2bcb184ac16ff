"""The CUDA kernels against PyTorch's cuDNN, on a GPU: `python -m tinygrad_rnn.bench.cuda`, in under ten minutes.

A case is a kind of layer at a size, in inference or in a training step (forward, and backward of the output's product
with u). Outputs and gradients are compared first. Then device events time both libraries in turns, and the medians go
to bench/results/cuda.json, with the name of the GPU and the cost of one barrier of all blocks. The time of this library
is that of its sequence driver, that is the products over all steps and the kernel; PyTorch's is that of its layer.

Both compute in the same numbers: fp32 with TF32 off, tf32, or bf16. In bf16 PyTorch's arrays have that type; this
library rounds the factors of the recurrent products, keeps all arrays in float32, and uses tf32 for the products over
all steps.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.arrays.cuda import missing_for_kernels, missing_for_tensors
from tinygrad_rnn.cells import find_cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.ir.program import Step
from tinygrad_rnn.kernels.ir.sequence_args import WEIGHT_NAMES, SequenceArgs
from tinygrad_rnn.terminal import tqdm_class

from . import peers, results
from .case import OURS
from .cells import slstm
from .problem import GATES, Problem
from .results import Result, Results, Spread, geometric_mean

T = 512
BATCHES = (1, 8, 16, 32, 64, 128)
WIDTHS = (64, 128, 256, 512, 768, 1024)
KINDS = ("LSTM", "GRU")
PRECISION = {"fp32": "highest", "tf32": "high", "bf16": "medium"}  # of this library's recurrent products
TOLERANCE = {"fp32": 1e-3, "tf32": 2e-2, "bf16": 1e-1}  # of the largest number of an array
TASKS = ("infer", "train")
OTHER_CELLS = ("peephole_lstm", "slstm")
OTHER_SIZES = ((16, 128), (32, 512), (64, 1024))  # N and H, for cells that cuDNN does not have and for stacks of layers
STACKED, LAYERS = "cuda stacked", 2
TURNS, BARRIERS = 5, 10_000
STANDARD_FROM = 192  # above this H PyTorch's LSTM runs cuDNN's standard algorithm, except in fp16; its GRU always does

Work = Callable[[], Sequence[Any]]


@functools.cache
def _gibibyte() -> Any:
    """Return an array of a GiB on the GPU."""
    import cupy

    return cupy.zeros(1 << 28, np.float32)


def milliseconds(work: Callable[[], Any]) -> float:
    """Return the device time of one call. Milliseconds of other work come first, so the GPU never waits for Python."""
    import cupy

    array, start, end = _gibibyte(), cupy.cuda.Event(), cupy.cuda.Event()
    for _ in range(10):
        array += 1
    start.record()
    work()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(start, end)


@functools.lru_cache(1)
def drawn(p: Problem) -> tuple[Any, Any]:
    """Return x and the cotangent of the output as CuPy's arrays, which both libraries read."""
    import cupy

    x, u = map(cupy.asarray, p.inputs())
    return x, u


@functools.lru_cache(1)
def weights_of(p: Problem) -> dict[str, np.ndarray]:
    return p.weights()


def step_of(name: str) -> Step:
    return trace(slstm if name == "slstm" else find_cell(name))


def library_of(name: str) -> Any:
    """Return a cell's compiled functions for this GPU, in the numbers of `set_numbers`."""
    import cupy

    from tinygrad_rnn.kernels.cuda import arrays, build, tiles
    from tinygrad_rnn.kernels.ir.plan import plan

    target = arrays.device_of(cupy.zeros(1)).target
    return build.library(plan(step_of(name), False), tiles.products_of("float32"), target)


def ours(name: str, p: Problem, task: str) -> Work:
    """Return this library's work: its driver on CuPy's arrays. It returns the output, in training also gradients."""
    import cupy

    from tinygrad_rnn.kernels.cuda import driver

    step = step_of(name)
    rng, H = np.random.default_rng(3), p.H
    if name.upper() in GATES:
        weights = [cupy.asarray(a) for a in weights_of(p).values()]
    else:
        rows = len(step.gates) * H
        shapes = (rows, p.I), (rows, H), (rows,), (rows,)
        weights = [cupy.asarray(rng.uniform(-1, 1, s).astype(np.float32) / H**0.5) for s in shapes]
    x, u = drawn(p)
    params = {n: cupy.asarray(rng.uniform(-1, 1, H).astype(np.float32)) for n in step.params}
    start = float(name == "slstm")  # slstm divides by a state, which must not be near 0
    initial = tuple(cupy.full((p.N, H), start if i else 0.0, np.float32) for i in range(len(step.states)))
    stack = []
    for k in range(p.layers):
        own: dict[str, Any] = dict(zip(WEIGHT_NAMES, weights[4 * k : 4 * k + 4]))
        stack.append(SequenceArgs(None if k else x, **own, params=params, initial=initial))
    missing = [None] * len(step.states)
    cotangents = [missing] * (p.layers - 1) + [[u, *missing[1:]]]

    def infer() -> Sequence[Any]:
        return driver.forward_stack(step, stack, False)[-1][0]

    def train() -> Sequence[Any]:
        runs = driver.forward_stack(step, stack, True)
        runs_and_cotangents: list[Any] = [
            (seq, saved, d, missing) for seq, (_, _, saved), d in zip(stack, runs, cotangents)
        ]
        found = driver.backward_stack(step, runs_and_cotangents)
        gradients = [d for each in found for d in (each.weight_ih, each.weight_hh, each.bias_ih, each.bias_hh)]
        return [runs[-1][0][0], found[0].x, *gradients]

    return train if task == "train" else infer


def theirs(p: Problem, task: str, numbers: str) -> Work:
    """Return PyTorch's work on the same numbers: its layer, with the results of `ours`."""
    import torch

    dtype = torch.bfloat16 if numbers == "bf16" else torch.float32
    layer = getattr(torch.nn, p.kind)(p.I, p.H, p.layers)
    layer.load_state_dict({name: torch.from_numpy(a) for name, a in weights_of(p).items()})
    x, u = (torch.from_dlpack(a).to(dtype) for a in drawn(p))
    layer = layer.to(x.device, dtype)
    x.requires_grad_(task == "train")

    def infer() -> Sequence[Any]:
        with torch.inference_mode():
            return [layer(x)[0]]

    def train() -> Sequence[Any]:
        layer.zero_grad()
        x.grad = None
        output = layer(x)[0]
        output.backward(u)
        return [output.detach(), x.grad, *(w.grad for w in layer.parameters())]

    return train if task == "train" else infer


def set_numbers(numbers: str) -> None:
    """Set the numbers of both libraries. CuPy reads its variable at its first product: call this once in a process."""
    import torch

    from tinygrad_rnn.kernels.cuda import tiles

    os.environ["CUPY_TF32"] = str(int(numbers != "fp32"))
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = numbers == "tf32"
    tiles.set_float32_matmul_precision(PRECISION[numbers])


def disagreement(a: Sequence[Any], b: Sequence[Any], tolerance: float) -> str:
    """Return the difference between CuPy's and PyTorch's arrays in words, "" if they agree."""
    import cupy

    for i, (x, expected) in enumerate(zip(a, b, strict=True)):
        y = cupy.from_dlpack(expected.float())
        if x.shape != y.shape or not cupy.isfinite(x).all():
            return f"array {i}: shape {x.shape}, expected {y.shape} and finite numbers"
        distance, scale = float(cupy.abs(x - y).max()), max(1.0, float(cupy.abs(y).max()))
        if distance > tolerance * scale:
            return f"array {i}: {distance:.2g} apart, the largest is {scale:.2g}"
    return ""


def measure(kind: str, numbers: str, task: str, N: int, H: int, layers: int = 1) -> Result:
    """Compare and time one case against PyTorch."""
    p = Problem(kind, T, N, H, H, layers)
    works = {OURS: ours(kind.lower(), p, task), "torch": theirs(p, task, numbers)}
    failed = dict[str, str]()
    if reason := disagreement(works[OURS](), works["torch"](), TOLERANCE[numbers]):
        failed["torch"] = reason
    found = {name: Spread.of(times) for name, times in _timed(works).items() if name not in failed}
    return _result("cuda" if layers == 1 else STACKED, f"{kind} {numbers}", task, p, found, failed)


def _timed(works: dict[str, Work]) -> dict[str, list[float]]:
    """Return the seconds of each call, in turns, after one uncounted call."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(TURNS):
        for name, work in works.items():
            times[name].append(milliseconds(work) / 1e3)
    return times


def _result(group: str, cell: str, task: str, p: Problem, found: Any, failed: Any) -> Result:
    shape = {"T": p.T, "N": p.N, "I": p.I, "H": p.H}
    return Result(group, cell, task, shape, p.flops(task), p.bytes(task), 0, found=found, failed=failed)


def other_cells() -> list[Result]:
    """Time cells that cuDNN does not have, against this library's own LSTM."""
    found = list[Result]()
    for N, H in OTHER_SIZES:
        p = Problem("LSTM", T, N, H, H)
        for task in TASKS:
            works = {name: ours(name, p, task) for name in ("lstm", *OTHER_CELLS)}
            times = _timed(works)
            for name in OTHER_CELLS:
                pair = {OURS: Spread.of(times[name]), "lstm": Spread.of(times["lstm"])}
                found.append(_result("cuda cells", name, task, p, pair, {}))
    return found


def breakdown(r: Result, whole: Results) -> dict[str, Any]:
    """Return the parts of a case's time, in microseconds: products over all steps, barriers, rest of the kernel."""
    import cupy

    kind, numbers = r.cell.split()
    set_numbers(numbers)
    p = Problem(kind, T, r.shape["N"], r.shape["I"], r.shape["H"])
    steps, rows, train = p.T * p.N, GATES[kind] * p.H, r.task == "train"
    x, gates, weight = (cupy.ones(shape, np.float32) for shape in ((steps, p.I), (steps, rows), (rows, p.I)))

    def products() -> None:
        cupy.matmul(x, weight.T)
        if train:  # the gradients of x and of both weights
            cupy.matmul(gates, weight)
            cupy.matmul(gates.T, x)
            cupy.matmul(gates.T, x)

    products()
    dense = min(milliseconds(products) for _ in range(TURNS)) * 1e3
    barriers = whole.ceilings["meeting"] * p.T * (2 if train else 1) * 1e6  # if every step has one of all blocks
    total = (r.ours or 0.0) * 1e6
    found = {"total": total, "products over all steps": dense, "meetings": barriers, "rest": total - dense - barriers}
    return {"record": f"{r.cell} {r.task} {r.sizes}"} | found


def build_all(names: Sequence[str]) -> None:
    """Build the libraries of all cells at the same time, as each takes nvcc some seconds."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(library_of, names))


def barrier_seconds() -> float:
    """Return the seconds of one barrier of as many blocks as there are multiprocessors."""
    import cupy

    from tinygrad_rnn.kernels.cuda import arrays

    counter = cupy.zeros(32, np.uint32)
    at, library = arrays.device_of(counter), library_of("lstm")  # every library has it, and this one is built already
    blocks = library.facts(at.number).blocks
    run = lambda: library.barriers(at, blocks, BARRIERS, arrays.address(counter))
    return min(milliseconds(run) for _ in range(5)) / 1e3 / BARRIERS


def machine() -> dict[str, Any]:
    """Return the facts of `results.machine`, and those of the GPU."""
    import cupy
    import torch

    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    return results.machine() | {
        "gpu": device["name"].decode(), "multiprocessors": device["multiProcessorCount"],
        "driver": cupy.cuda.runtime.driverGetVersion(), "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__, "torch_cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip


def standard(r: Result) -> bool:
    """Return whether PyTorch's cuDNN runs its standard algorithm, a launch for every step."""
    return r.cell.startswith("GRU") or r.shape["H"] > STANDARD_FROM


def report(found: Results) -> str:
    """Return the results as text."""
    barrier = found.ceilings["meeting"]
    lines = [f"{found.machine['gpu']}: a barrier of all blocks takes {barrier * 1e6:.2f} us", ""]
    compared, stacked = ([(r, x) for r in found.of(group) if (x := r.ratio("torch"))] for group in ("cuda", STACKED))
    for some, what in ((compared, ""), (stacked, f", {LAYERS} layers")):
        for r, ratio in some:
            per_step = (r.ours or 0.0) / r.shape["T"] * 1e6
            lines.append(f"{r.cell:10} {r.task:6} {r.sizes:24} {per_step:8.2f} us a step  {ratio:6.2f}x of cuDNN{what}")
    for r in found.records:
        lines += [f"{r.cell} {r.task} {r.sizes}: {reason}" for reason in r.failed.values()]
    for r in found.of("cuda cells"):
        lines.append(f"{r.cell:14} {r.task:6} {r.sizes:24} {1 / (r.ratio('lstm') or 1):6.2f}x the LSTM's time")
    if gap := found.machine.get("largest gap"):
        times = ", ".join(f"{name} {value:.0f} us" for name, value in gap.items() if name != "record")
        lines.append(f"the largest gap: {gap['record']}: {times}")
    groups = {"all": compared, "cuDNN's standard algorithm": [(r, x) for r, x in compared if standard(r)]}
    groups[f"{LAYERS} layers"] = stacked
    for name, some in groups.items():
        if some:
            worst = min(some, key=lambda pair: pair[1])
            lines.append(f"{name}: geometric mean {geometric_mean(x for _, x in some):.2f} of {len(some)}, the worst "
                         f"{worst[1]:.2f}: {worst[0].cell} {worst[0].task} {worst[0].sizes}")  # fmt: skip
    return "\n".join(lines)


def measured(kinds: Sequence[str], numbers: str) -> Results:
    """Measure all cases in some numbers. The process must not have computed in others (see `set_numbers`)."""
    set_numbers(numbers)
    build_all([*map(str.lower, kinds), "lstm", *(OTHER_CELLS if numbers == "fp32" else ())])
    grid: list[Any] = [(kind, numbers, task, N, H) for kind in kinds for H in WIDTHS for N in BATCHES for task in TASKS]
    grid += [(kind, numbers, task, N, H, LAYERS) for kind in kinds for N, H in OTHER_SIZES for task in TASKS]
    found = [measure(*case) for case in tqdm_class()(grid, unit="case", desc=numbers, disable=None)]
    found += other_cells() if numbers == "fp32" else []
    facts = (
        machine(),
        peers.versions(),
        time.strftime("%Y-%m-%d"),
        0,
        False,
        {"meeting": barrier_seconds()},
        dict[str, float](),
    )
    return Results(*facts, records=found)


def run(kinds: Sequence[str], numbers: Sequence[str], out: Path) -> int:
    """Measure, write and print. Return the exit code, 1 if results differ. Each kind of numbers has its own process."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if len(numbers) == 1:
        whole = measured(kinds, numbers[0])
    else:
        parts = list[Results]()
        with tempfile.TemporaryDirectory() as work:
            for name in numbers:
                part = Path(work) / f"{name}.json"
                options = ["--kinds", *kinds, "--numbers", name, "--out", str(part)]
                done = subprocess.run([sys.executable, "-m", __spec__.name, *options], stdout=subprocess.DEVNULL)
                if done.returncode > 1:
                    return done.returncode
                parts.append(results.load(part))
        whole = replace(parts[0], records=[r for part in parts for r in part.records])
    if gaps := [r for r in whole.of("cuda") if r.ratio("torch")]:
        whole.machine["largest gap"] = breakdown(min(gaps, key=lambda r: r.ratio("torch") or 0.0), whole)
    results.save(out, whole)
    print(f"{report(whole)}\n\nresults: {out}")
    return 1 if any(r.failed for r in whole.records) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code, 2 without a GPU or PyTorch."""
    about = "Compare the speed of the CUDA kernels with PyTorch's cuDNN, on a GPU."
    parser = argparse.ArgumentParser(prog="python -m tinygrad_rnn.bench.cuda", description=about)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of layers")
    parser.add_argument(
        "--numbers", nargs="+", choices=PRECISION, default=[*PRECISION], help="number formats of both libraries"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/cuda.json"), help="file for the results")
    options = parser.parse_args(arguments)
    missing = [*missing_for_tensors(), *missing_for_kernels(), *filter(None, [peers.why_missing("torch")])]
    if missing:
        print(f"nothing measured: {'; '.join(missing)}", file=sys.stderr)
        return 2
    return run(options.kinds, options.numbers, options.out)


if __name__ == "__main__":
    sys.exit(main())
