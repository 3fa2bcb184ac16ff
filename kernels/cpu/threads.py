"""Threads for kernels: generated code lets go of Python's lock, so ordinary threads run it side by side."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

VARIABLE = "TINYGRAD_RNN_THREADS"

_pool: ThreadPoolExecutor | None = None
_count = 0


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_num_threads() -> int:
    """How many threads the kernels use."""
    global _count
    if not _count:
        wanted = os.environ.get(VARIABLE) or str(usable_cores())
        if not wanted.isascii() or not wanted.isdigit() or int(wanted) < 1:
            raise ValueError(f"{VARIABLE}: expected a whole number from 1 up, got {wanted!r}")
        set_num_threads(int(wanted))
    return _count


def set_num_threads(count: int) -> None:
    """Use so many threads in the kernels; results do not depend on it, to the last bit."""
    global _count, _pool
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"set_num_threads: expected a whole number from 1 up, got {count!r}")
    _count, _pool = count, None


def split(total: int, parts: int, grain: int = 1) -> list[tuple[int, int]]:
    """0..total as at most so many ranges of nearly one size, cut at multiples of `grain`."""
    grains = -(-total // grain)
    parts = max(1, min(parts, grains))
    ends = [min(total, grains * i // parts * grain) for i in range(parts + 1)]
    return [(a, b) for a, b in itertools.pairwise(ends) if b > a]


def run(tasks: Sequence[Callable[[], object]]) -> None:
    """Run the tasks side by side, the first on this thread; returns when all have ended."""
    global _pool
    if len(tasks) > 1 and _pool is None:
        _pool = ThreadPoolExecutor(max(1, get_num_threads() - 1), "tinygrad_rnn")
    futures = [_pool.submit(task) for task in tasks[1:]] if _pool is not None else []
    if tasks:
        tasks[0]()
    for future in futures:
        future.result()


def _forget() -> None:
    global _pool
    _pool = None  # a forked child has no threads but its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
