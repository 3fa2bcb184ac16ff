"""Several claims, one after the other: measured, printed, drawn, and written as a page."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..arrays.writing import write_atomically
from .finding import CLAIMS, Finding
from .report import as_text, draw, page


def run(names: Sequence[str], seed: int = 0, out: Path | None = None, markdown: Path | None = None) -> None:
    """Measure the claims of these names and print their findings.

    out: a folder for the pictures, study_NAME.png. markdown: a file for the page of all findings; its pictures go
    into the folder `pictures` beside it unless `out` names another. Folders are made. Without matplotlib it says so and
    draws none. Raises KeyError for an unknown name, OSError for a file that cannot be written.
    """
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        out = markdown.parent / "pictures" if out is None else out
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    findings: dict[str, Finding] = {}
    for name in names:
        show = _Progress(name)
        findings[name] = CLAIMS[name].measure(seed, show)
        show.close()
        print(as_text(name, findings[name]), flush=True)
    drawn = {} if out is None else _draw(findings, out)
    if markdown is not None:
        pictures = {name: Path(os.path.relpath(path, markdown.parent)).as_posix() for name, path in drawn.items()}
        write_atomically(markdown, page(findings, pictures, seed).encode())


def _draw(findings: dict[str, Finding], folder: Path) -> dict[str, Path]:
    """Draw the findings that have curves, and return the paths of the pictures by name."""
    drawn = {}
    for name, finding in findings.items():
        if finding.plot is not None:
            path = folder / f"study_{name.replace('-', '_')}.png"
            try:
                draw(path, name, finding.plot)
            except ImportError:
                print("no pictures: matplotlib is not installed: pip install tinygrad_rnn[plot]", file=sys.stderr)
                return {}
            drawn[name] = path
    return drawn


class _Progress:
    """Show on stderr which part of a claim is measured: one line that changes on a terminal, else one line a claim."""

    def __init__(self, name: str):
        self.name, self.begin, self.terminal = name, time.perf_counter(), sys.stderr.isatty()
        self("")

    def __call__(self, text: str) -> None:
        if self.terminal:
            print(f"\r\x1b[K{self.name}: {text or 'measuring'}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self.name}: {time.perf_counter() - self.begin:.1f} s", file=sys.stderr, flush=True)
