"""Peak memory of one training step, in a fresh process: the rise of the resident set during the step.

The process first trains on two time steps, which imports modules, loads kernels and starts threads. Then it makes the
layer, its input and cotangent, resets the peak (Linux: /proc/self/clear_refs), and runs one step. `recomputing` is
this library with `recompute_every`, about the square root of T.

    python -m tinygrad_rnn.bench.memory '{"kind": "LSTM", "T": 100, "N": 16, "I": 64, "H": 64}' torch 2
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from . import layers, peers
from .case import KINDS, OURS, Build, Case, Run, Unavailable
from .problem import Problem
from .spawned import Spawned, outline

LENGTHS = [100, 1_000, 10_000]
REST = (16, 128, 128)  # N, I, H
RECOMPUTING = f"{OURS} recomputing"
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
STEPS: dict[str, Callable[[Problem], Run]] = {
    OURS: layers.our_training,
    RECOMPUTING: lambda p: layers.our_training(p, recompute_every=max(2, math.isqrt(p.T))),
    "torch": layers.torch_training,
}


def build(p: Problem, contender: str) -> Build:
    """Return a Build whose Run is a process that measures itself; it raises Unavailable on other systems than Linux."""

    def spawned(threads: int) -> Run:
        if not CLEAR.exists():
            raise Unavailable("peak memory is measured on Linux only")
        return Spawned(["-m", "tinygrad_rnn.bench.memory", json.dumps(asdict(p)), contender, str(threads)])

    return spawned


def case(p: Problem, group: str = "memory", axis: str = "", threads: int = 0, recomputing: bool = True) -> Case:
    """Return the case of a problem's peak memory."""
    names = [name for name in STEPS if recomputing or name != RECOMPUTING]
    contenders = {name: build(p, name) for name in names}
    shape = {"T": p.T, "N": p.N, "I": p.I, "H": p.H}
    return Case(group, p.kind, "train", shape, contenders, threads=threads, unit="bytes", axis=axis)


def cases() -> list[Case]:
    return [case(Problem(kind, T, *REST)) for kind in KINDS for T in LENGTHS]


def peak() -> int:
    """Return the largest resident set since the last reset of the peak, in bytes."""
    lines = STATUS.read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def main(words: list[str]) -> None:
    """Measure one step and print the line that `Spawned` reads."""
    p, contender, threads = Problem(**json.loads(words[0])), words[1], int(words[2])
    peers.prepare((contender,), threads)
    peers.set_threads(threads)
    STEPS[contender](replace(p, T=2))()
    run = STEPS[contender](p)
    CLEAR.write_text("5")
    before = peak()
    arrays = run()
    rise = peak() - before
    print(json.dumps({"bytes": rise, "arrays": [outline(a) for a in arrays]}))


if __name__ == "__main__":
    main(sys.argv[1:])
