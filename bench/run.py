"""A whole run: what `tinygrad-rnn bench` does."""

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
from .groups import GROUPS, select
from .record import KINDS, Record
from .report import failures, report

SECONDS, QUICK_SECONDS = 0.5, 0.1  # for each contender of a record, about
QUICK_TURNS = 3


@dataclass(frozen=True)
class Options:
    """Those of the command line."""

    groups: tuple[str, ...]
    threads: int
    cells: tuple[str, ...] = KINDS
    peers: tuple[str, ...] = peers.PEERS
    quick: bool = False
    json: Path | None = None
    out: Path | None = None


def run(options: Options) -> int:
    """Measure, print, write and draw; 1 where a contender failed. OSError before anything runs if it cannot write.

    Interrupted, it does so with what it has: files hold whole groups only.
    """
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    if options.json:
        with open(options.json, "a", encoding="utf-8"):
            pass
    records = select(options.groups, options.cells, options.peers, options.quick)
    peers.prepare(options.peers, options.threads)
    absent = {reason for peer in options.peers if (reason := peers.lacking(peer))}
    for reason in sorted(absent):
        print(f"left out: {reason}")
    found = measure(records, options)
    unfinished = {record.group for record in records[len(found.records) :]}
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


def measure(records: Sequence[Record], options: Options) -> results.Results:
    """All records, one after the other, under a progress bar; or those that were done when it was interrupted."""
    effort = (QUICK_SECONDS, QUICK_TURNS) if options.quick else (SECONDS, timing.TURNS)
    tops = [ceilings.measure(options.threads)]
    found, loops = list[results.Result](), list[float]()
    bar = tqdm_class()(records, unit="record", disable=None, dynamic_ncols=True)
    with bar, contextlib.suppress(KeyboardInterrupt):
        for record in bar:
            bar.set_postfix_str(record.name, refresh=False)
            loops += [timing.calibration() for _ in range(3)]
            found.append(timing.measure(record, options.threads, *effort))
            for line in failures(found[-1:]):
                bar.write(line, file=sys.stderr)
    peers.set_threads(options.threads)
    tops.append(ceilings.measure(options.threads))
    date, quiet = time.strftime("%Y-%m-%d"), timing.noise(found, loops)
    facts = (results.machine(), peers.versions(), date, options.threads, options.quick, ceilings.best(*tops), quiet)
    return results.Results(*facts, records=found)


def write(found: results.Results, options: Options) -> None:
    """The JSON file asked for, and in the folder bench.json, or growth.json for the growth, and the pictures.

    What bench.json has of other groups stays there, if it was measured on this machine, on this day, with this all.
    """
    if options.json:
        results.save(options.json, found)
    if not options.out:
        return
    grown = found.of("growth")
    parts = {"growth.json": grown, "bench.json": [r for r in found.records if r not in grown]}
    whole = found
    written, records = list[str](), list[results.Result]()
    for name, part in parts.items():
        if part:
            whole = _with_others(replace(found, records=part), options.out / name)
            results.save(options.out / name, whole)
            written.append(name)
            records += whole.records
    try:
        written += [path.name for path in plots.draw(options.out, replace(whole, records=records))]
    except ImportError:
        print("no pictures: matplotlib is not installed: pip install tinygrad_rnn[plot]", file=sys.stderr)
    print(f"\nresults: {options.out}: {', '.join(sorted(written))}")


def _place(r: results.Result) -> int:
    return list(GROUPS).index(r.group) if r.group in GROUPS else len(GROUPS)


def _with_others(found: results.Results, path: Path) -> results.Results:
    """Together with the groups that were not measured now, from a file of an earlier run under the same conditions."""
    try:
        before = results.load(path)
    except (OSError, results.ResultsError):
        return found
    same = ("machine", "versions", "date", "threads", "quick")
    if any(getattr(before, name) != getattr(found, name) for name in same):
        return found
    measured = {r.group for r in found.records}
    records = [*found.records, *(r for r in before.records if r.group not in measured)]
    tops = ceilings.best(found.ceilings, before.ceilings)
    return replace(found, records=sorted(records, key=_place), ceilings=tops)
