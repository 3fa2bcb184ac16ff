"""How it is measured: comparison first, then the contenders taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import peers
from .record import OURS, Record, Run, Unavailable
from .results import Result, Spread

REST = 0.1  # seconds: others' threads spin for a while after a run (ONNX Runtime's more than 0.02) and take a core
WARMING = 0.015  # seconds of calls before those that count: for so long a core that has rested is slower
TURN = 0.02  # seconds of those that count, if one call does not take longer
TURNS = 5  # of each contender, at least
SPAWNED = 2  # measurements of memory, which hardly vary, besides the one that is compared


def measure(record: Record, threads: int, seconds: float, turns: int = TURNS) -> Result:
    """Build a record's contenders, compare and time them. Whoever disagrees or breaks is not timed, and said so."""
    threads = record.threads or threads
    peers.set_threads(threads)
    runs, left_out, failed = dict[str, Run](), dict[str, str](), dict[str, str]()
    for name, build in record.contenders.items():
        if reason := peers.lacking(peers.peer_of(name)):
            left_out[name] = reason
            continue
        try:
            runs[name] = build(threads)
        except Unavailable as error:
            left_out[name] = str(error)
        except Exception as error:  # a peer's own; whatever it is, the other records go on
            failed[name] = _reason(error)
    failed |= disagreeing(runs, record.calls)
    runs = {name: run for name, run in runs.items() if name not in failed}
    samples = timed(runs, seconds, turns) if record.unit == "s" else weighed(runs)
    found = {name: Spread.of(values) for name, values in samples.items()}
    r = record
    facts = (r.group, r.cell, r.task, dict(r.shape), r.flops, r.bytes, threads, r.unit, r.axis)
    return Result(*facts, found, left_out, failed)


def _reason(error: Exception) -> str:
    """One line of an exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {'; '.join(lines[:6])}"


def disagreeing(runs: Mapping[str, Run], calls: int = 1) -> dict[str, str]:
    """Call each so many times; the reasons why some do not give the numbers that this library gives."""
    failed, expected = dict[str, str](), list[list[np.ndarray]]()
    for name, run in sorted(runs.items(), key=lambda item: item[0] != OURS):
        try:
            found = [[np.asarray(a).copy() for a in run()] for _ in range(calls)]
            if name == OURS:
                expected = found
            elif expected:
                for a, b in zip(expected, found):
                    _compare(a, b)
        except Exception as error:  # a difference, or a peer's own
            failed[name] = _reason(error)
    return failed


def _compare(expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    """AssertionError unless all arrays agree, to what float32 gives after so many steps."""
    if len(expected) != len(found):
        raise AssertionError(f"expected {len(expected)} arrays, got {len(found)}")
    for i, (a, b) in enumerate(zip(expected, found)):
        if a.shape != b.shape:
            raise AssertionError(f"array {i}: expected shape {a.shape}, got {b.shape}")
        scale = max(1.0, float(np.abs(a).max(initial=0)))
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * scale, err_msg=f"array {i}")


def timed(runs: Mapping[str, Run], seconds: float, turns: int = TURNS) -> dict[str, list[float]]:
    """Seconds of each call, the contenders taking turns, each for about so long and at least so many turns.

    Turns, since the machine's mood changes: it then hits all alike. A turn is a rest, in which the threads of whoever
    ran before go to sleep, some calls that do not count, and then those that do.
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
    """Seconds of each call, one after the other until so many have passed."""
    found, start = list[float](), time.perf_counter()
    before = start
    while not found or before - start < seconds:
        run()
        now = time.perf_counter()
        found.append(now - before)
        before = now
    return found


def weighed(runs: Mapping[str, Any]) -> dict[str, list[float]]:
    """Bytes of each, as its process counts them."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(SPAWNED):
        for name, run in runs.items():
            run()
            found[name].append(run.bytes)
    return found


def calibration() -> float:
    """Seconds of a loop that is always the same: how far it varies within a run says how quiet the machine was."""
    start = time.perf_counter()
    total = 0
    for i in range(200_000):
        total += i & 3
    return time.perf_counter() - start


def noise(results: list[Result], loops: list[float]) -> dict[str, float]:
    """Interquartile range / median: of this library's times, the median over the records; and of the fixed loop."""
    own = [r.found[OURS].relative for r in results if r.unit == "s" and OURS in r.found]
    return {"records": statistics.median(own) if own else 0.0, "loop": Spread.of(loops).relative if loops else 0.0}
