"""A run as text: tables of medians and ratios, geometric means, ceilings and noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .case import OURS, is_peer
from .groups import TITLES
from .results import Result, Results, geometric_mean, means


def shown(value: float, unit: str = "s") -> str:
    """Return a value with three digits and a suitable unit."""
    steps = [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")] if unit == "s" else [(2.0**30, "GiB"), (2.0**20, "MiB")]
    scale, name = next((step for step in steps if value >= step[0]), steps[-1])
    return f"{digits(value / scale)} {name}"


def digits(value: float) -> str:
    """Return three significant digits, never with a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def contenders(cases: Iterable[Result]) -> list[str]:
    """Return all measured contenders, this library's first, the others in the order of the cases."""
    names = list(dict.fromkeys(name for r in cases for name in r.found))
    return sorted(names, key=is_peer)


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a table, with the first columns flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    pad = lambda i, word: word.ljust(widths[i]) if i < left else word.rjust(widths[i])
    return ["  ".join(pad(i, word) for i, word in enumerate(row)).rstrip() for row in rows]


def table(results: Results, group: str) -> list[str]:
    """Return the lines of a group: each contender's median, the best peer's / ours, the fractions of both ceilings."""
    cases = results.of(group)
    names = contenders(cases)
    rows = [["cell", "task", "shape", *names, "ratio", "best peer", "peak", "memory"]]
    for r in cases:
        times = [shown(r.found[name].median, r.unit) if name in r.found else "-" for name in names]
        best, fractions = r.best(), results.fractions(r)
        ratio = [f"x{digits(best[1])}", best[0]] if best else ["-", "-"]
        reached = [f"{f:.0%}" for f in fractions] if fractions else ["-", "-"]
        axis = f"{r.axis}: " if r.axis else ""
        threads = f" on {r.threads}" if r.axis == "threads" else ""
        rows.append([r.cell, r.task, axis + r.sizes + threads, *times, *ratio, *reached])
    return [f"{TITLES.get(group, group)}", *aligned(rows, 3)]


def mean_table(cases: Sequence[Result]) -> list[str]:
    """Return the geometric means by group, cell and task: the best peer's ratio, with its range, and each peer's."""
    peers = [name for name in contenders(cases) if is_peer(name)]
    rows = [["group", "cell", "task", "cases", "best peer", "range", *peers]]
    for key, ratios in means(cases).items():
        own = [r for r in cases if (r.group, r.cell, r.task) == key]
        each = [[ratio for r in own if (ratio := r.ratio(peer))] for peer in peers]
        by_peer = [f"x{digits(geometric_mean(found))}" if found else "-" for found in each]
        span = f"{digits(min(ratios))} to {digits(max(ratios))}"
        rows.append([*key, str(len(ratios)), f"x{digits(geometric_mean(ratios))}", span, *by_peer])
    return ["geometric means of the peers' time (memory) / ours", *aligned(rows, 3)] if len(rows) > 1 else []


def absences(cases: Iterable[Result]) -> list[str]:
    """Return a line for each reason why a contender was left out, with the number of cases."""
    found: dict[tuple[str, str], int] = {}
    for r in cases:
        for item in r.left_out.items():
            found[item] = found.get(item, 0) + 1
    return [f"left out: {name}: {reason} ({count} cases)" for (name, reason), count in found.items()]


def failures(cases: Iterable[Result]) -> list[str]:
    """Return a line for each contender that gave other numbers or raised an error."""
    return [
        f"FAILED: {r.group}: {r.cell} {r.task} {r.sizes}: {name}: {reason}"
        for r in cases
        for name, reason in r.failed.items()
    ]


def conditions(results: Results) -> list[str]:
    """Return the lines on the machine, the ceilings and the noise."""
    m, c, n = results.machine, results.ceilings, results.noise
    memory = f", {m['memory_gib']:.0f} GiB" if m.get("memory_gib") else ""
    vectors = f", {m['vectors']}" if m.get("vectors") else ""
    packages = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    return [
        f"{m['processor']}{vectors}, {m['cores']} cores{memory}, {m['system']}, Python {m['python']}, "
        f"{results.threads} threads",
        packages,
        f"ceilings: {c['flops'] / 1e9:.0f} Gflop/s (the register tile alone), {c['bytes'] / 1e9:.1f} GB/s (c = a + b)",
        f"noise (interquartile range / median): {n['records']:.1%} in a case's calls, {n['loop']:.1%} in a loop that "
        "is always the same, over the run",
    ]


def report(results: Results) -> str:
    """Return the whole text."""
    groups = list(dict.fromkeys(r.group for r in results.records))
    parts = [conditions(results), *(table(results, group) for group in groups), mean_table(results.records)]
    parts += [absences(results.records), failures(results.records)]
    legend = f"medians; ratio: the best peer's / {OURS}'s; peak, memory: fractions of the ceilings that it reached,\n"
    legend += "of the memory's more than 100% where the caches hold what is counted"
    return "\n\n".join("\n".join(part) for part in [*parts[:1], [legend], *parts[1:]] if part)
