"""The measurement of a case: first compare the contenders' numbers, then time them in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import peers
from .case import OURS, Case, Run, Unavailable
from .results import Result, Spread

REST = 0.1  # seconds between turns: threads of peers spin after a run (ONNX Runtime's over 0.02 s) and use a core
WARMING = 0.015  # seconds of uncounted calls: a core that has rested is slower for about this time
TURN = 0.02  # seconds of counted calls, at least one call
TURNS = 5  # the least number of turns of each contender
SPAWNED = 2  # measurements of memory, which hardly vary, after the one for the comparison


def measure(case: Case, threads: int, seconds: float, turns: int = TURNS) -> Result:
    """Build the contenders of a case, compare their numbers, and time those that agree; see `Result` for the others.

    seconds, turns: the time for each contender, and its least number of turns.
    """
    threads = case.threads or threads
    peers.set_threads(threads)
    runs, left_out, failed = dict[str, Run](), dict[str, str](), dict[str, str]()
    for name, build in case.contenders.items():
        if reason := peers.why_missing(peers.peer_of(name)):
            left_out[name] = reason
            continue
        try:
            runs[name] = build(threads)
        except Unavailable as error:
            left_out[name] = str(error)
        except Exception as error:  # any error of a peer: the run continues with the others
            failed[name] = _reason(error)
    failed |= disagreeing(runs, case.calls)
    runs = {name: run for name, run in runs.items() if name not in failed}
    samples = timed(runs, seconds, turns) if case.unit == "s" else memory_used(runs)
    found = {name: Spread.of(values) for name, values in samples.items()}
    c = case
    facts = (c.group, c.cell, c.task, dict(c.shape), c.flops, c.bytes, threads, c.unit, c.axis)
    return Result(*facts, found, left_out, failed)


def _reason(error: Exception) -> str:
    """Return an exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {'; '.join(lines[:6])}"


def disagreeing(runs: Mapping[str, Run], calls: int = 1) -> dict[str, str]:
    """Call each contender. Return the reasons of those that raise, or give other numbers than this library."""
    failed, expected = dict[str, str](), list[list[np.ndarray]]()
    for name, run in sorted(runs.items(), key=lambda item: item[0] != OURS):
        try:
            found = [[np.asarray(a).copy() for a in run()] for _ in range(calls)]
            if name == OURS:
                expected = found
            elif expected:
                for a, b in zip(expected, found):
                    _compare(a, b)
        except Exception as error:  # a difference, or any error of a peer
            failed[name] = _reason(error)
    return failed


def _compare(expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    """Raise AssertionError unless all arrays agree, within the rounding of float32 over many steps."""
    if len(expected) != len(found):
        raise AssertionError(f"expected {len(expected)} arrays, got {len(found)}")
    for i, (a, b) in enumerate(zip(expected, found)):
        if a.shape != b.shape:
            raise AssertionError(f"array {i}: expected shape {a.shape}, got {b.shape}")
        scale = max(1.0, float(np.abs(a).max(initial=0)))
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * scale, err_msg=f"array {i}")


def timed(runs: Mapping[str, Run], seconds: float, turns: int = TURNS) -> dict[str, list[float]]:
    """Return the seconds of each call. Each contender gets about `seconds`, in at least `turns` turns.

    The speed of a machine changes over time; with turns a change affects all contenders alike. A turn is a rest, in
    which the threads of the contender before go to sleep, then some uncounted calls, then the counted ones.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    while runs and (turns > 0 or time.perf_counter() - start < seconds * len(runs)):
        turns -= 1
        for name, run in runs.items():
            time.sleep(REST)
            _calls(run, WARMING)
            times[name] += _calls(run, TURN)
    return times


def _calls(run: Run, seconds: float) -> list[float]:
    """Call until `seconds` have passed, at least once. Return the seconds of each call."""
    found, start = list[float](), time.perf_counter()
    before = start
    while not found or before - start < seconds:
        run()
        now = time.perf_counter()
        found.append(now - before)
        before = now
    return found


def memory_used(runs: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the bytes that each contender's process reports."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(SPAWNED):
        for name, run in runs.items():
            run()
            found[name].append(run.bytes)
    return found


def calibration() -> float:
    """Return the seconds of a fixed loop. Its variation within a run shows how quiet the machine was."""
    start = time.perf_counter()
    total = 0
    for i in range(200_000):
        total += i & 3
    return time.perf_counter() - start


def noise(results: list[Result], loops: list[float]) -> dict[str, float]:
    """Return interquartile range / median of this library's times (the median over cases) and of the fixed loop.

    The keys are those of the JSON files.
    """
    own = [r.found[OURS].relative for r in results if r.unit == "s" and OURS in r.found]
    return {"records": statistics.median(own) if own else 0.0, "loop": Spread.of(loops).relative if loops else 0.0}
