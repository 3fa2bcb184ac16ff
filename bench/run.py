"""A whole run of the benchmark, the work of `tinygrad-rnn bench`."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinygrad_rnn.terminal import tqdm_class

from . import ceilings, peers, plots, results, timing
from .case import KINDS, Case
from .groups import GROUPS, select
from .report import failures, report

SECONDS, QUICK_SECONDS = 0.5, 0.1  # the time for each contender of a case, about
QUICK_TURNS = 3


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    groups: tuple[str, ...]
    threads: int
    cells: tuple[str, ...] = KINDS
    peers: tuple[str, ...] = peers.PEERS
    quick: bool = False
    json: Path | None = None
    out: Path | None = None


def run(options: Options) -> int:
    """Measure all cases, print and write the results. Return the exit code, 1 if a contender failed.

    Raise OSError before any measurement if a file cannot be written. After an interruption print what is measured,
    and write the complete groups only.
    """
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    if options.json:
        with open(options.json, "a", encoding="utf-8"):
            pass
    cases = select(options.groups, options.cells, options.peers, options.quick)
    peers.prepare(options.peers, options.threads)
    absent = {reason for peer in options.peers if (reason := peers.why_missing(peer))}
    for reason in sorted(absent):
        print(f"left out: {reason}")
    found = measure(cases, options)
    unfinished = {case.group for case in cases[len(found.records) :]}
    if unfinished and not found.records:
        raise KeyboardInterrupt
    print(report(found))
    whole = [r for r in found.records if r.group not in unfinished]
    if whole:
        write(replace(found, records=whole), options)
    if unfinished:
        print(f"interrupted: not in the files: {', '.join(sorted(unfinished))}", file=sys.stderr)
        return 128 + signal.SIGINT
    return 1 if failures(found.records) else 0


def measure(cases: Sequence[Case], options: Options) -> results.Results:
    """Measure the cases in turn, under a progress bar. Return the results, after an interruption those so far."""
    effort = (QUICK_SECONDS, QUICK_TURNS) if options.quick else (SECONDS, timing.TURNS)
    tops = [ceilings.measure(options.threads)]
    found, loops = list[results.Result](), list[float]()
    bar = tqdm_class()(cases, unit="case", disable=None, dynamic_ncols=True)
    with bar, contextlib.suppress(KeyboardInterrupt):
        for case in bar:
            bar.set_postfix_str(case.name, refresh=False)
            loops += [timing.calibration() for _ in range(3)]
            found.append(timing.measure(case, options.threads, *effort))
            for line in failures(found[-1:]):
                bar.write(line, file=sys.stderr)
    peers.set_threads(options.threads)
    tops.append(ceilings.measure(options.threads))
    date, quiet = time.strftime("%Y-%m-%d"), timing.noise(found, loops)
    facts = (results.machine(), peers.versions(), date, options.threads, options.quick, ceilings.best(*tops), quiet)
    return results.Results(*facts, records=found)


def write(found: results.Results, options: Options) -> None:
    """Write the JSON file of `--json`, and bench.json, growth.json (for the group growth) and charts into the folder.

    Groups that are only in an earlier file of the folder stay, if machine, versions, date and options are the same.
    """
    if options.json:
        results.save(options.json, found)
    if not options.out:
        return
    grown = found.of("growth")
    parts = {"growth.json": grown, "bench.json": [r for r in found.records if r not in grown]}
    whole = found
    written, drawn = list[str](), list[results.Result]()
    for name, part in parts.items():
        if part:
            whole = _with_others(replace(found, records=part), options.out / name)
            results.save(options.out / name, whole)
            written.append(name)
            drawn += whole.records
    try:
        written += [path.name for path in plots.draw(options.out, replace(whole, records=drawn))]
    except ImportError:
        print("no charts: matplotlib is not installed: pip install tinygrad_rnn[plot]", file=sys.stderr)
    print(f"\nresults: {options.out}: {', '.join(sorted(written))}")


def _group_index(r: results.Result) -> int:
    return list(GROUPS).index(r.group) if r.group in GROUPS else len(GROUPS)


def _with_others(found: results.Results, path: Path) -> results.Results:
    """Return the results with the groups of an earlier run's file added, if its conditions were the same."""
    try:
        before = results.load(path)
    except (OSError, results.ResultsError):
        return found
    same = ("machine", "versions", "date", "threads", "quick")
    if any(getattr(before, name) != getattr(found, name) for name in same):
        return found
    measured = {r.group for r in found.records}
    merged = [*found.records, *(r for r in before.records if r.group not in measured)]
    tops = ceilings.best(found.ceilings, before.ceilings)
    return replace(found, records=sorted(merged, key=_group_index), ceilings=tops)
