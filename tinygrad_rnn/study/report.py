"""A finding as text for a terminal, as a part of the page docs/study.md, and as a picture."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ..arrays.writing import write_atomically
from .corrections import CORRECTIONS
from .finding import CLAIMS, Curves, Finding

WIDTH = 100


def as_text(name: str, finding: Finding) -> str:
    """Return the claim, the table and the verdict, for a terminal."""
    rows = [finding.header, *finding.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(finding.header))]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    claim = textwrap.fill(f"{name}: {finding.claim}", WIDTH)
    verdict = textwrap.fill(f"{finding.verdict}: {finding.reason}", WIDTH)
    return "\n".join([claim, "", *lines, "", verdict, ""])


def as_markdown(name: str, finding: Finding, picture: str | None) -> str:
    """Return the part of the page for a finding. picture: the path of its picture, relative to the page."""
    table = [finding.header, ["---"] * len(finding.header), *finding.rows]
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in table]
    verdict = textwrap.fill(f"**{finding.verdict}**: {finding.reason}", 120, break_on_hyphens=False)
    parts = [f"## {title(name)}", f"Claim: {finding.claim}", "\n".join(lines), verdict]
    if picture is not None:
        parts.append(f"![{title(name)}]({picture})")
    return "\n\n".join(parts)


def title(name: str) -> str:
    """Return the name of a claim as a title."""
    words = [_SPELLED.get(word, word) for word in name.split("-")]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


_SPELLED = {"bptt": "BPTT", "lstm": "LSTM", "jordan": "Jordan"}


TITLE = "# Study: claims about recurrent networks, measured"
INTRODUCTION = f"""{TITLE}

Lecture notes on recurrent networks make claims that are seldom measured where they stand. Each part of this page
states one in a sentence, the figures that this library measures, and a verdict: confirmed, qualified (true with a
condition that the notes leave out) or wrong. `tinygrad-rnn study NAME` measures one again, with other seeds by
`--seed`; the command below wrote this page."""


def page(findings: Mapping[str, Finding], pictures: Mapping[str, str], seed: int) -> str:
    """Return the page of all findings, with the corrections at its end. pictures: for a name the path of a picture."""
    command = "tinygrad-rnn study --all --markdown docs/study.md" + (f" --seed {seed}" if seed else "")
    summary = ["| claim | verdict |", "| --- | --- |"]
    summary += [f"| {finding.claim} | {finding.verdict} |" for finding in findings.values()]
    parts = [INTRODUCTION, f"```sh\n{command}\n```", "\n".join(summary)]
    parts += [as_markdown(name, finding, pictures.get(name)) for name, finding in findings.items()]
    parts += ["## Corrections", CORRECTIONS]
    return "\n\n".join(parts) + "\n"


def is_page(file: Path) -> bool:
    """Return whether a file holds such a page, or nothing, so that a new page may replace it."""
    start = file.read_bytes()[: len(TITLE)]
    return not start or start == TITLE.encode()


def draw(path: Path, name: str, curves: Curves) -> None:
    """Write a PNG of the curves. Raises ImportError where matplotlib is missing, OSError for a file not writable."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (label, (x, y)), marker in zip(curves.curves.items(), "osD^vP*Xh<>" * 3):
        marks = marker if len(x) <= 20 else ""
        width = 0 if isinstance(x[0], str) else 1.3  # no line between categories
        axes.plot(x, y, marker=marks, markersize=4 if width else 7, linewidth=width, label=label)
    if "x" in curves.log:
        axes.set_xscale("log")
        values = sorted({value for x, _ in curves.curves.values() for value in x})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.minorticks_off()
    if "y" in curves.log:
        axes.set_yscale("log")
    axes.set(title=title(name), xlabel=curves.x, ylabel=curves.y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90, metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def listing() -> str:
    """Return the names of all claims, with their sentences."""
    return "\n".join(f"{name:<22}{claim.sentence}" for name, claim in CLAIMS.items())
