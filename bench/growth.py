"""The growth of a training step's time and peak memory with T, N, H and the number of threads."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_rnn.kernels.cpu.runtime.threads import usable_cores

from . import layers, memory
from .case import KINDS, OURS, Case
from .problem import Problem

BASE = {"T": 50, "N": 32, "H": 256}
AXES = {"T": [10, 30, 100, 300, 1000], "N": [1, 4, 16, 64, 256], "H": [32, 64, 128, 256, 512, 1024]}


def case(kind: str, axis: str, value: int, unit: str) -> Case:
    """Return the case of one point of a curve."""
    sizes = BASE | ({axis: value} if axis in BASE else {})
    p = Problem(kind, sizes["T"], sizes["N"], sizes["H"], sizes["H"])
    threads = value if axis == "threads" else 0
    if unit == "bytes":
        return memory.case(p, "growth", axis, threads, recomputing=False)
    timed = layers.case("growth", p, "train")
    contenders = {name: timed.contenders[name] for name in (OURS, "torch")}
    return replace(timed, contenders=contenders, axis=axis, threads=threads)


def cases() -> list[Case]:
    axes = AXES | {"threads": [n for n in (1, 2, 4, 8, 16, 32) if n <= usable_cores()]}
    points = [(kind, axis, value) for kind in KINDS for axis, values in axes.items() for value in values]
    return [case(*point, unit) for unit in ("s", "bytes") for point in points]
