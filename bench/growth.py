"""How the cost of a training step grows: time and peak memory against T, N, H and the number of threads."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_rnn.kernels.cpu.runtime.threads import usable_cores

from . import layers, memory
from .problem import Problem
from .record import KINDS, OURS, Record

BASE = {"T": 50, "N": 32, "H": 256}
AXES = {"T": [10, 30, 100, 300, 1000], "N": [1, 4, 16, 64, 256], "H": [32, 64, 128, 256, 512, 1024]}


def record(kind: str, axis: str, value: int, unit: str) -> Record:
    """One point of a curve."""
    sizes = BASE | ({axis: value} if axis in BASE else {})
    p = Problem(kind, sizes["T"], sizes["N"], sizes["H"], sizes["H"])
    threads = value if axis == "threads" else 0
    if unit == "bytes":
        return memory.record(p, "growth", axis, threads, recomputing=False)
    timed = layers.record("growth", p, "train")
    contenders = {name: timed.contenders[name] for name in (OURS, "torch")}
    return replace(timed, contenders=contenders, axis=axis, threads=threads)


def records() -> list[Record]:
    axes = AXES | {"threads": [n for n in (1, 2, 4, 8, 16, 32) if n <= usable_cores()]}
    points = [(kind, axis, value) for kind in KINDS for axis, values in axes.items() for value in values]
    return [record(*point, unit) for unit in ("s", "bytes") for point in points]
