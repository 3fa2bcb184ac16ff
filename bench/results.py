"""The results of a run, with all conditions that they depend on, and their JSON files."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinygrad_rnn.lm.checkpoint import write_atomically

from .case import OURS, is_peer
from .vectors import described

FORMAT = 1


class ResultsError(ValueError):
    """A file does not hold results; the message gives the reason in one line."""


@dataclass(frozen=True)
class Spread:
    """Median, lower and upper quartile of `count` repeats."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        many = [values[0], *values] if len(values) == 1 else values
        low, middle, high = statistics.quantiles(many, n=4, method="inclusive")
        return cls(middle, low, high, len(values))

    @property
    def relative(self) -> float:
        """Interquartile range / median."""
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Result:
    """The result of a case: the fields of `Case`, and for each contender a spread, or the reason why there is none.

    found: spreads of the measured contenders. left_out: reasons of those that cannot run on this machine.
    failed: reasons of those that raised an error, or gave other numbers than this library.
    """

    group: str
    cell: str
    task: str
    shape: dict[str, int]
    flops: float
    bytes: float
    threads: int
    unit: str = "s"
    axis: str = ""
    found: dict[str, Spread] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> float | None:
        return self.found[OURS].median if OURS in self.found else None

    @property
    def sizes(self) -> str:
        """The sizes of the shape, "50 x 32 x 256 x 256"."""
        return " x ".join(map(str, self.shape.values()))

    def ratio(self, peer: str) -> float | None:
        """Return the peer's median / ours; None if one is missing, or is 0 bytes (memory below a page)."""
        theirs = self.found[peer].median if peer in self.found else 0.0
        return theirs / self.ours if self.ours and theirs > 0 and self.ours > 0 else None

    def best(self) -> tuple[str, float] | None:
        """Return the fastest peer (or the one of least memory) and its ratio; None if there is no ratio."""
        ratios = [(r, name) for name in self.found if is_peer(name) and (r := self.ratio(name)) is not None]
        return (min(ratios)[1], min(ratios)[0]) if ratios else None


@dataclass
class Results:
    """The results of a run and its conditions. ceilings: the rates "flops" and "bytes" per second."""

    machine: dict[str, Any]
    versions: dict[str, str]
    date: str
    threads: int
    quick: bool
    ceilings: dict[str, float]
    noise: dict[str, float]
    records: list[Result]  # a result for each case; the name is a key of the JSON files

    def of(self, *groups: str) -> list[Result]:
        return [r for r in self.records if r.group in groups]

    def fractions(self, r: Result) -> tuple[float, float] | None:
        """Return this library's fractions of the arithmetic peak and of the memory bandwidth; None if not counted."""
        if not r.flops or not r.ours or r.unit != "s":
            return None
        return r.flops / r.ours / self.ceilings["flops"], r.bytes / r.ours / self.ceilings["bytes"]


def geometric_mean(ratios: Iterable[float]) -> float:
    return math.exp(statistics.mean(map(math.log, ratios)))


def means(results: Iterable[Result]) -> dict[tuple[str, str, str], list[float]]:
    """Return the ratios of the best peers by (group, cell, task)."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for r in results:
        if best := r.best():
            found.setdefault((r.group, r.cell, r.task), []).append(best[1])
    return found


def machine() -> dict[str, Any]:
    """Return the processor, its vectors, cores and memory, the system and the version of Python."""
    from tinygrad_rnn.info import processor
    from tinygrad_rnn.kernels.cpu.runtime.threads import usable_cores

    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):  # some systems do not tell
        memory = 0.0
    system = f"{platform.system()} {platform.machine()}"
    return {
        "processor": processor(), "vectors": described(), "cores": usable_cores(), "memory_gib": round(memory, 1),
        "system": system, "python": platform.python_version(),
    }  # fmt: skip


def _short(value: Any) -> Any:
    """Return a JSON tree with numbers rounded to seven digits, which is more than a measurement has."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _short(v) for key, v in value.items()}
    return [_short(v) for v in value] if isinstance(value, list) else value


def save(path: Path, results: Results) -> None:
    """Write a run as JSON, one result a line."""
    tree = _short(asdict(results))
    lines = ",\n".join("  " + json.dumps(r) for r in tree.pop("records"))
    head = json.dumps({"format": FORMAT, **tree}, indent=1).removesuffix("\n}")
    write_atomically(path, f'{head},\n "records": [\n{lines}\n ]\n}}\n'.encode())


def load(path: Path) -> Results:
    """Return the results that `save` wrote. Raise ResultsError for any other file."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree.pop("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        records = [
            Result(**r | {"found": {name: Spread(**s) for name, s in r["found"].items()}}) for r in tree.pop("records")
        ]
        return Results(**tree, records=records)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ResultsError(f"{path}: expected results of tinygrad-rnn bench, got something else ({reason})") from error
