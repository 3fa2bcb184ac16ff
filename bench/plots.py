"""Pictures of a run: ratios, the roofline, and the growth of costs. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .case import KINDS, OURS
from .groups import TITLES
from .results import Result, Results, geometric_mean

COLOURS = {"LSTM": "tab:blue", "GRU": "tab:orange", "RNN": "tab:green"}
OTHER = "tab:purple"
AXES = {"T": "steps T", "N": "sequences N", "H": "width H (= I)", "threads": "threads"}


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    path.write_bytes(picture.getvalue())


def _plain(axis: Any, ticks: Sequence[float]) -> None:
    """Show the ticks of a log axis as plain numbers."""
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


# ratios


def _label(r: Result) -> str:
    return r.sizes if r.cell in KINDS else r.cell if "primitives" in r.shape else f"{r.cell}  {r.sizes}"


def plot_ratios(path: Path, results: Results) -> bool:
    """Draw a dot for each case at the best peer's time / ours. Right of the line at 1 this library is faster.

    Whether there was anything to draw.
    """
    cases = [r for r in results.records if r.best() and not r.axis]
    if not cases:
        return False
    groups = list(dict.fromkeys(r.group for r in cases))
    rows = {group: list(dict.fromkeys(_label(r) for r in cases if r.group == group)) for group in groups}
    figure = _figure(11, 1.4 + sum(0.62 + 0.21 * len(labels) for labels in rows.values()))
    heights = [1.6 + len(labels) for labels in rows.values()]
    panels = figure.subplots(len(groups), 2, sharex=True, squeeze=False, height_ratios=heights)
    values = [best[1] for r in cases if (best := r.best())]
    for group, pair in zip(groups, panels):
        for task, axes in zip(("train", "infer"), pair):
            own = [r for r in cases if r.group == group and r.task == task]
            _ratio_panel(axes, own, rows[group])
            axes.set_title(f"{TITLES.get(group, group)}: {task}" if own else "", fontsize=9, loc="left")
            axes.set_visible(bool(own))
        pair[1].tick_params(labelleft=not pair[0].get_visible())
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if min(values) / 2 < t < max(values) * 2]
    for axes in panels.flat:
        axes.set_xlim(min(0.7, min(values) / 1.2), max(1.5, max(values) * 1.2))
        _plain(axes.xaxis, ticks)
        axes.tick_params(labelbottom=True, labelsize=8)
    handles = [_dot(panels[0, 0], COLOURS.get(cell, OTHER), cell) for cell in (*KINDS, "others")]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, fontsize=9)
    title = "The best peer's time (memory) divided by ours: right of the line, ours is less"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    _save(figure, path)
    return True


def _ratio_panel(axes: Any, cases: list[Result], labels: list[str]) -> None:
    axes.axvline(1, color="black", linewidth=1)
    for r in cases:
        if best := r.best():
            colour = COLOURS.get(r.cell, OTHER)
            axes.plot(best[1], labels.index(_label(r)), "o", color=colour, markersize=5.5, alpha=0.85)
    axes.set_xscale("log")
    axes.set_yticks(range(len(labels)), labels=labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(alpha=0.3)


def _dot(axes: Any, colour: str, label: str) -> Any:
    return axes.plot([], [], "o", color=colour, label=label)[0]


SUMMARY = {
    "layers": "one layer",
    "stacked": "two layers",
    "bidirectional": "both directions",
    "lengths": "unequal lengths",
    "step": "one streaming step",
    "language_model": "language model",
}
TASKS = {"train": "training step", "infer": "inference"}


def plot_summary(path: Path, results: Results) -> bool:
    """Draw, for each kind of run and cell, the best peer's time / ours: the geometric mean, and a line for the range.

    Return whether there was anything to draw.
    """
    rows = [(group, task) for group in SUMMARY for task in TASKS if _ratios(results, group, task)]
    if not rows:
        return False
    figure = _figure(8.2, 1.0 + 0.46 * len(rows))
    axes = figure.subplots()
    axes.axvline(1, color="black", linewidth=1)
    for y, (group, task) in enumerate(rows):
        for k, (cell, ratios) in enumerate(_ratios(results, group, task).items()):
            height = y + (k - 1) * 0.22
            axes.plot([min(ratios), max(ratios)], [height, height], color=COLOURS[cell], linewidth=1.6, alpha=0.6)
            axes.plot(geometric_mean(ratios), height, "o", color=COLOURS[cell], markersize=6)
    axes.set_xscale("log")
    _plain(axes.xaxis, (0.5, 0.7, 1, 1.5, 2, 3, 5, 10))
    axes.set_yticks(range(len(rows)), labels=[f"{SUMMARY[group]}, {TASKS[task]}" for group, task in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time of the fastest peer / time of tinygrad_rnn (right of the line: tinygrad_rnn is faster)")
    handles = [_dot(axes, COLOURS[cell], cell) for cell in KINDS]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=9)
    _save(figure, path)
    return True


def _ratios(results: Results, group: str, task: str) -> dict[str, list[float]]:
    """Return for each cell the ratios of a group and task."""
    found: dict[str, list[float]] = {}
    for r in results.of(group):
        if r.task == task and r.cell in KINDS and (best := r.best()):
            found.setdefault(r.cell, []).append(best[1])
    return found


# roofline


def plot_roofline(path: Path, results: Results) -> None:
    """Draw flop/s against flop per byte for the layers of the grid, below the two measured ceilings."""
    cases = [r for r in results.of("layers") if r.ours]
    if not cases:
        return
    cells = [kind for kind in KINDS if any(r.cell == kind for r in cases)]
    shapes = list(dict.fromkeys(r.sizes for r in cases))
    figure = _figure(4.2 * len(cells) + 1.9, 7.6)
    panels = figure.subplots(2, len(cells), sharex=True, sharey=True, squeeze=False)
    intensities = [r.flops / r.bytes for r in cases]
    rates = [r.flops / r.ours for r in cases if r.ours]
    top, slope = results.ceilings["flops"], results.ceilings["bytes"]
    left, right = min(intensities) / 2, max(*intensities, top / slope) * 2.5
    for task, line in zip(("train", "infer"), panels):
        for cell, axes in zip(cells, line):
            axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(rates) / 2.5, top * 2))
            axes.plot([left, top / slope, right], [left * slope, top, top], color="black", linewidth=1.2)
            axes.grid(alpha=0.3)
            axes.set_title(f"{cell}, {task}", fontsize=10)
    figure.supxlabel("flop per byte (weights, inputs and outputs moved once)", fontsize=10)
    figure.supylabel("flop/s", fontsize=10)
    key = "\n".join(f"{i:2}  {shape}" for i, shape in enumerate(shapes, 1))
    key = f"T x N x I x H\n{key}\n\nceilings\n{top / 1e9:.0f} Gflop/s\n{slope / 1e9:.1f} GB/s"
    figure.legend(handles=[], title=key, loc="outside right center", frameon=False, title_fontsize=9, alignment="left")
    figure.draw_without_rendering()  # places the axes, so that labels can be placed in them
    figure.set_layout_engine("none")
    for task, line in zip(("train", "infer"), panels):
        for cell, axes in zip(cells, line):
            own = [r for r in cases if (r.cell, r.task) == (cell, task)]
            _numbered(axes, own, shapes, COLOURS[cell])
    _save(figure, path)


def _numbered(axes: Any, cases: list[Result], shapes: list[str], colour: str) -> None:
    """Draw points, with the numbers of their shapes next to them if there is room."""
    from math import cos, hypot, pi, sin

    points = [(r.flops / r.bytes, r.flops / r.ours) for r in cases if r.ours]
    if not points:
        return
    pixels = axes.transData.transform(points)
    taken, scale = [tuple(p) for p in pixels], axes.figure.dpi / 72
    spots = [(radius * scale, k * pi / 6) for radius in (10, 16, 22, 30, 40) for k in range(12)]
    for r, point, (x, y) in zip(cases, points, pixels):
        axes.plot(*point, "o", color=colour, markersize=5)
        place = lambda spot, x=x, y=y: (x + spot[0] * cos(spot[1]), y + spot[0] * sin(spot[1]))
        far = lambda x, y: all(hypot(x - a, y - b) > 9 * scale for a, b in taken)
        radius, angle = next((spot for spot in spots if far(*place(spot))), spots[0])
        taken.append(place((radius, angle)))
        offset = (radius / scale * cos(angle), radius / scale * sin(angle))
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "grey", "shrinkA": 0, "shrinkB": 2}
        number = str(shapes.index(r.sizes) + 1)
        axes.annotate(
            number, point, offset, textcoords="offset points", ha="center", va="center", fontsize=8,
            arrowprops=line if radius > 11 * scale else None,
        )  # fmt: skip


# growth


def plot_growth(path: Path, results: Results) -> None:
    """Time and peak memory of a training step against T, N, H and threads, with PyTorch's."""
    cases = [r for r in results.of("growth") if r.ours]
    if not cases:
        return
    axes_found = [axis for axis in AXES if any(r.axis == axis for r in cases)]
    units = [unit for unit in ("s", "bytes") if any(r.unit == unit for r in cases)]
    figure = _figure(3.3 * len(axes_found) + 0.6, 3.1 * len(units) + 0.9)
    panels = figure.subplots(len(units), len(axes_found), squeeze=False)
    for unit, line in zip(units, panels):
        for axis, axes in zip(axes_found, line):
            _growth_panel(axes, [r for r in cases if (r.axis, r.unit) == (axis, unit)], axis)
        line[0].set_ylabel("seconds" if unit == "s" else "peak memory, MiB")
    kinds = [kind for kind in KINDS if any(r.cell == kind for r in cases)]
    handles = [panels[0, 0].plot([], [], color=COLOURS[kind], label=kind)[0] for kind in kinds]
    for name, style in ((OURS, "o-"), ("torch", "x--")):
        handles += panels[0, 0].plot([], [], style, color="grey", markersize=4, label=name)
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=9)
    _save(figure, path)


def _at(r: Result) -> int:
    return r.threads if r.axis == "threads" else r.shape[r.axis]


def _growth_panel(axes: Any, cases: list[Result], axis: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for kind in KINDS:
        own = sorted((r for r in cases if r.cell == kind), key=_at)
        for name, style in ((OURS, "o-"), ("torch", "x--")):
            points = [(_at(r), r.found[name].median / (1 if r.unit == "s" else 2**20)) for r in own if name in r.found]
            if points:
                axes.plot(*zip(*points), style, color=COLOURS[kind], markersize=4, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlabel=AXES[axis])
    _plain(axes.xaxis, sorted({_at(r) for r in cases}))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def draw(folder: Path, results: Results) -> list[Path]:
    """Draw all pictures of the cases and return their files. Raise ImportError if Matplotlib is missing."""
    drawn = []
    groups = {r.group for r in results.records}
    if groups - {"growth"} and plot_ratios(folder / "ratios.png", results):
        drawn.append(folder / "ratios.png")
    if plot_summary(folder / "summary.png", results):
        drawn.append(folder / "summary.png")
    if "layers" in groups:
        plot_roofline(folder / "roofline.png", results)
        drawn.append(folder / "roofline.png")
    if "growth" in groups:
        plot_growth(folder / "growth.png", results)
        drawn.append(folder / "growth.png")
    return drawn
