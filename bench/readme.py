"""The figures in README and docs, written from the files of results: nobody types them.

    python -m tinygrad_rnn.bench.readme [PAGE ...] [--results bench/results]

Rewrite the text between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` in each page, for the names of `SECTIONS`, and
draw the pictures into the folder of results. A section without measurements says so. Pages: README.md and
docs/benchmarks.md where none is named.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .case import is_peer
from .plots import draw
from .report import conditions, contenders, digits, shown
from .results import Result, Results, ResultsError, geometric_mean, load

PAGES = (Path("README.md"), Path("docs/benchmarks.md"))
GROWTH = "time and peak memory against T, N, H and threads"
MARKED = re.compile(r"(<!-- bench:(\w+) -->\n)(.*?)(<!-- /bench:\2 -->)", re.DOTALL)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table. Its first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _machine(results: Results) -> str:
    where, versions, ceilings, noise = conditions(results)
    quick = " Few shapes and peers: `--quick`." if results.quick else ""
    return f"Measured on {results.date}: {where}; {versions}.\nThe {ceilings};\n{noise}.{quick}"


def _ratios(ratios: Sequence[float]) -> str:
    """Return the geometric mean and the range."""
    span = f" ({digits(min(ratios))} to {digits(max(ratios))})" if len(ratios) > 1 else ""
    return f"{digits(geometric_mean(ratios))}{span}"


def _summary(cases: Sequence[Result], titles: Callable[[Result], str]) -> str:
    """Return a table: for each title the geometric mean of every peer's ratio, and of the best peer's."""
    peers = [name for name in contenders(cases) if is_peer(name)]
    many = len(peers) > 1
    rows = [["", *peers, *(["best of them"] if many else [])]]
    for title in dict.fromkeys(map(titles, cases)):
        own = [r for r in cases if titles(r) == title]
        columns = [[ratio for r in own if (ratio := r.ratio(peer))] for peer in peers]
        columns += [[best[1] for r in own if (best := r.best())]] if many else []
        rows.append([title, *(_ratios(found) if found else "-" for found in columns)])
    return markdown(rows)


def _best(results: Results, group: str, task: str) -> str:
    """Return for each cell the geometric mean and range of the best peer's ratio, in words."""
    found = []
    for cell in dict.fromkeys(r.cell for r in results.of(group)):
        ratios = [best[1] for r in results.of(group) if (r.cell, r.task) == (cell, task) and (best := r.best())]
        if ratios:
            found.append(f"{cell} {_ratios(ratios)}")
    return ", ".join(found)


def _headline(results: Results) -> str:
    """Return the sentences of the README: what one layer gains, and what one streaming step loses."""
    where = f"float32, {results.machine['cores']} cores of an {results.machine['processor']}, {results.date}"
    lines = [
        "The picture shows the time of the fastest of PyTorch, ONNX Runtime, OpenVINO and JAX, divided by ours:",
        f"geometric mean and range over the shapes, {where}.",
        f"For the training step of one layer that is {_best(results, 'layers', 'train')},",
        f"for its inference {_best(results, 'layers', 'infer')}.",
        "One streaming step is slower than ONNX Runtime's, because of the Python around the kernel:",
        f"{_best(results, 'step', 'infer')}.",
    ]
    return "\n".join(lines)


def _layers(results: Results) -> str:
    words = {"train": "training step", "infer": "inference"}
    return _summary(results.of("layers"), lambda r: f"{r.cell}, {words[r.task]}")


def _other_machines(others: Sequence[Results]) -> str:
    """Return for each machine what it is, and its layers, single steps and fractions of the ceilings."""
    names = {"layers": "", "step": ", one step"}
    words = {"train": "training step", "infer": "inference"}
    title = lambda r: f"{r.cell}{names[r.group]}, {words[r.task]}"
    parts = [(_machine(r), _summary(r.of(*names), title), _efficiency(r)) for r in others]
    return "\n\n".join("\n\n".join(part) for part in parts) or "Not measured yet."


def _around(results: Results) -> str:
    names = {"stacked": "two layers", "bidirectional": "bidirectional", "lengths": "unequal lengths"}
    names["step"] = "one step"
    words = {"train": "training step", "infer": "inference"}
    return _summary(results.of(*names), lambda r: f"{names[r.group]}, {r.cell}, {words[r.task]}")


def _efficiency(results: Results) -> str:
    """Return a table of the best fractions of the two ceilings that each cell reaches."""
    rows = [["", "of the arithmetic peak, at most", "at", "of the bandwidth, at most", "at"]]
    for cell, task in dict.fromkeys((r.cell, r.task) for r in results.of("layers")):
        measured = [r for r in results.of("layers") if (r.cell, r.task) == (cell, task)]
        own = [(f, r.sizes) for r in measured if (f := results.fractions(r))]
        if own:
            (peak, _), at_peak = max(own, key=lambda item: item[0][0])
            (_, memory), at_memory = max(own, key=lambda item: item[0][1])
            rows.append([f"{cell}, {task}", f"{peak:.0%}", at_peak, f"{memory:.0%}", at_memory])
    return markdown(rows)


def _each(*groups: str, shape: str) -> Callable[[Results], str]:
    """Return a section with a row for each case: the medians of all contenders, and the best peer's ratio."""

    def section(results: Results) -> str:
        cases = results.of(*groups)
        names = contenders(cases)
        rows = [["", shape, *names, "best peer / ours"]]
        for r in cases:
            if r.group == "dense":
                task = " and its gradients" if r.task == "train" else ""
            else:
                task = "" if r.task == "train" else ", inference"
            times = [shown(r.found[name].median, r.unit) if name in r.found else "-" for name in names]
            best = r.best()
            rows.append([f"{r.cell}{task}", r.sizes, *times, digits(best[1]) if best else "-"])
        return markdown(rows)

    return section


def _tape(results: Results) -> str:
    """Return a table of microseconds per primitive."""
    cases = results.of("tape")
    names = contenders(cases)
    rows = [["us per primitive, forward and backward", *names]]
    for r in cases:
        count = r.shape["primitives"]
        times = [digits(r.found[name].median / count * 1e6) if name in r.found else "-" for name in names]
        rows.append([f"`{r.cell}`", *times])
    return markdown(rows)


def _language_model(results: Results) -> str:
    return _summary(results.of("language_model"), lambda r: f"{r.cell}, vocabulary of {r.shape['V']:,}")


# By the name of the markers: the groups that a section is made from, and how.
SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[Results], str]]] = {
    "machine": ((), _machine),
    "headline": (("layers",), _headline),
    "layers": (("layers",), _layers),
    "efficiency": (("layers",), _efficiency),
    "around": (("stacked", "bidirectional", "lengths", "step"), _around),
    "cells": (("cells",), _each("cells", shape="T x N x I x H")),
    "dense": (("dense",), _each("dense", shape="M x K x N")),
    "tape": (("tape",), _tape),
    "language_model": (("language_model",), _language_model),
    "cold": (("cold",), _each("cold", shape="T x N x I x H")),
    "memory": (("memory",), _each("memory", shape="T x N x I x H")),
    "growth": (
        ("growth",),
        lambda _: "![time and peak memory against T, N, H and threads](../bench/results/growth.png)",
    ),
}


OTHERS = "others"
"""The section with the results of other machines: each file bench.json in a folder of the folder of results."""


def read_others(folder: Path) -> list[Results]:
    """Return the results of other machines."""
    return [load(path) for path in sorted(folder.glob("*/bench.json"))]


def read(folder: Path) -> Results:
    """Return the results of bench.json, and of growth.json if there is one."""
    results, growth = load(folder / "bench.json"), folder / "growth.json"
    return replace(results, records=[*results.records, *load(growth).records]) if growth.exists() else results


def rewritten(text: str, results: Results, others: Sequence[Results] = ()) -> str:
    """Return a page with its sections as the results have them. Raise ResultsError for markers without a section."""

    def section(match: re.Match[str]) -> str:
        head, name, _, tail = match.groups()
        if name == OTHERS:
            return f"{head}\n{_other_machines(others)}\n\n{tail}"
        if name not in SECTIONS:
            known = ", ".join([*SECTIONS, OTHERS])
            raise ResultsError(f"markers: expected bench:NAME with one of {known}, got {name}")
        groups, make = SECTIONS[name]
        there = not groups or any(r.found for r in results.of(*groups))
        return f"{head}\n{make(results) if there else 'Not measured in this run.'}\n\n{tail}"

    return MARKED.sub(section, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return 1, after one line, if a file is missing or does not hold results."""
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_rnn.bench.readme", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("pages", metavar="PAGE", type=Path, nargs="*", default=PAGES)
    parser.add_argument("--results", metavar="FOLDER", type=Path, default=Path("bench/results"))
    args = parser.parse_args(argv)
    try:
        results, others = read(args.results), read_others(args.results)
        texts = {page: rewritten(page.read_text(encoding="utf-8"), results, others) for page in args.pages}
        draw(args.results, results)
        for page, text in texts.items():
            page.write_text(text, encoding="utf-8")
    except (OSError, ResultsError, ImportError) as error:
        print(f"readme: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
