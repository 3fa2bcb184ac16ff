"""What was found: figures of a run with everything that they depend on, as JSON."""

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

from .record import OURS, is_peer

FORMAT = 1


class ResultsError(ValueError):
    """A file that does not hold results, with the reason in one line."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of so many repeats."""

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
    """A record's figures; the fields of `Record`, and for each contender its spread, or why there is none."""

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
        """The shape in short."""
        return " x ".join(map(str, self.shape.values()))

    def ratio(self, peer: str) -> float | None:
        """The peer's median / ours; None where one of them is missing, or is memory too small to be seen."""
        theirs = self.found[peer].median if peer in self.found else 0.0
        return theirs / self.ours if self.ours and theirs > 0 and self.ours > 0 else None

    def best(self) -> tuple[str, float] | None:
        """The fastest peer (of least memory, where that is measured), and its ratio."""
        ratios = [(r, name) for name in self.found if is_peer(name) and (r := self.ratio(name)) is not None]
        return (min(ratios)[1], min(ratios)[0]) if ratios else None


@dataclass
class Results:
    """A whole run. ceilings: "flops" and "bytes" per second."""

    machine: dict[str, Any]
    versions: dict[str, str]
    date: str
    threads: int
    quick: bool
    ceilings: dict[str, float]
    noise: dict[str, float]
    records: list[Result]

    def of(self, *groups: str) -> list[Result]:
        return [r for r in self.records if r.group in groups]

    def fractions(self, r: Result) -> tuple[float, float] | None:
        """Of the arithmetic peak and of the memory's bandwidth that this library reached; None where not counted."""
        if not r.flops or not r.ours or r.unit != "s":
            return None
        return r.flops / r.ours / self.ceilings["flops"], r.bytes / r.ours / self.ceilings["bytes"]


def geometric_mean(ratios: Iterable[float]) -> float:
    return math.exp(statistics.mean(map(math.log, ratios)))


def means(records: Iterable[Result]) -> dict[tuple[str, str, str], list[float]]:
    """The ratios of the best peer by (group, cell, task)."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for r in records:
        if best := r.best():
            found.setdefault((r.group, r.cell, r.task), []).append(best[1])
    return found


def machine() -> dict[str, Any]:
    """Processor, cores and memory, and what runs on them."""
    from tinygrad_rnn.info import processor
    from tinygrad_rnn.kernels.cpu.runtime.threads import usable_cores

    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):  # not every system says
        memory = 0.0
    system = f"{platform.system()} {platform.machine()}"
    return {
        "processor": processor(), "cores": usable_cores(), "memory_gib": round(memory, 1), "system": system,
        "python": platform.python_version(),
    }  # fmt: skip


def _short(value: Any) -> Any:
    """Numbers to seven digits: more mean nothing, and would make every file longer."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _short(v) for key, v in value.items()}
    return [_short(v) for v in value] if isinstance(value, list) else value


def save(path: Path, results: Results) -> None:
    """Write a run as JSON, one record a line."""
    tree = _short(asdict(results))
    records = ",\n".join("  " + json.dumps(r) for r in tree.pop("records"))
    head = json.dumps({"format": FORMAT, **tree}, indent=1).removesuffix("\n}")
    write_atomically(path, f'{head},\n "records": [\n{records}\n ]\n}}\n'.encode())


def load(path: Path) -> Results:
    """What `save` wrote. ResultsError where it is something else."""
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
