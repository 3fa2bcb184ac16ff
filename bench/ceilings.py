"""The two ceilings of a roofline, arithmetic and memory, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tinygrad_rnn.kernels.cpu.runtime.caches import caches

LARGEST = 1 << 28  # bytes: the limit of one array on machines with huge caches


def measure(threads: int) -> dict[str, float]:
    """Return both ceilings: "flops" and "bytes" per second."""
    return {"flops": peak(threads), "bytes": bandwidth(threads)}


def best(*measured: Mapping[str, float]) -> dict[str, float]:
    """Return the highest of several measurements, as a disturbance can only lower a rate."""
    return {name: max(m[name] for m in measured) for name in measured[0]}


def peak(threads: int) -> float:
    """Return the best rate of the register tile, on data in the first two caches, on all threads: flop per second."""
    from tinygrad_rnn.kernels.cpu.builder import CommandListBuilder
    from tinygrad_rnn.kernels.cpu.codegen.product import PANEL_VECTORS
    from tinygrad_rnn.kernels.cpu.codegen.tile import tile_rows
    from tinygrad_rnn.kernels.cpu.runtime.host import vector_unit

    r = CommandListBuilder(np.dtype(np.float32), threads, vector_unit())
    rows, depth, width = tile_rows(r.unit, PANEL_VECTORS) * 64 * threads, 64, PANEL_VECTORS * r.lanes
    a, panels, out = r.make(rows, depth), r.make(width, depth), r.make(rows, width)
    for view in (a, panels, out):
        r.fill(view)
    for _ in range(200):
        r.multiply(a, False, panels, width, out)
    work = r.finish()
    times = []
    for _ in range(50):
        start = time.perf_counter()
        work.run({})
        times.append(time.perf_counter() - start)
    return 400.0 * rows * depth * width / min(times)


def bandwidth(threads: int, size: int = 0) -> float:
    """Return the best rate of c = a + b over arrays far larger than the caches, on all threads: bytes per second.

    The count has two reads and one write, and no read of c, which some processors add. size: bytes of one array; 0:
    four times the last cache. J. D. McCalpin, Memory bandwidth and machine balance, 1995.
    """
    count = (size or min(LARGEST, 4 * last_cache())) // 4 // threads
    parts = [tuple(np.full(count, value, np.float32) for value in (1, 2, 0)) for _ in range(threads)]
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(10):
            start = time.perf_counter()
            list(pool.map(lambda part: np.add(part[0], part[1], out=part[2]), parts))
            times.append(time.perf_counter() - start)
    return 12.0 * count * threads / min(times)


def last_cache() -> int:
    """Return the bytes of the largest cache, at least 32 MiB: some systems do not tell."""
    return max(1 << 25, *caches())
