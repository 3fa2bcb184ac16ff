"""The progress of a run: a bar on a terminal, a line once a minute in a file or a pipe."""

from __future__ import annotations

import sys
import time
from typing import Any, ClassVar, TextIO

import numpy as np

from ..terminal import tqdm_class, visible
from .run import Run


class Progress:
    """A listener of a run that shows bits per character, characters per second and the time left.

    On a terminal it redraws a bar, at most four times a second; elsewhere it writes a line, at most once a minute.
    Every validation writes a line on both.
    """

    PAUSES: ClassVar[dict[bool, float]] = {
        True: 0.25,
        False: 60.0,
    }  # least seconds between two updates, by whether the output is a terminal

    def __init__(self, out: TextIO | None = None):
        self.out = sys.stderr if out is None else out
        self.pause = self.PAUSES[self.out.isatty()]
        self.bar: Any = None
        self.origin: tuple[float, float] | None = None  # time and fraction of the run done, after the first step
        self.shown = 0.0
        self.characters = 0

    def stepped(self, run: Run, characters: int) -> None:
        """Update the display after a training step."""
        now = time.perf_counter()
        if self.origin is None:  # the first step may compile kernels, so speed and time left do not count it
            self.origin, self.shown = (now, run.done), now
            return
        self.characters += characters
        if now - self.shown >= self.pause:
            self.shown = now
            if self.out.isatty():
                self._draw(run)
            else:
                self.line(self.summary(run))

    def validated(self, run: Run) -> None:
        """Write a line after a validation, unless it was stopped."""
        if run.trainer.is_validated:
            self.shown = time.perf_counter()
            self.line(f"{self.summary(run)}, held-out {run.trainer.validations[-1][1]:.3f}")

    def summary(self, run: Run) -> str:
        """Return the progress of the run in one line; the loss is the mean of the last 100 steps."""
        trainer = run.trainer
        words = [f"step {trainer.step:,} (epoch {trainer.epoch:.2f})"]
        if self.origin is not None and self.characters:
            passed, done = time.perf_counter() - self.origin[0], run.done - self.origin[1]
            words.append(f"{self.characters / passed:,.0f} char/s")
            if done > 0:
                words.append(f"{clock(passed * (1 - run.done) / done)} left")
        return ", ".join([*words, f"{np.mean(trainer.losses[-100:]):.3f} bits/char"])

    def line(self, text: str) -> None:
        """Write a line of text, above the bar if there is one, with control characters made visible."""
        if self.bar is not None:
            self.bar.clear()
        print(visible(text), file=self.out, flush=True)
        if self.bar is not None:
            self.bar.refresh()

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _draw(self, run: Run) -> None:
        if self.bar is None:
            look = {"bar_format": "{percentage:3.0f}%|{bar:20}| {desc}", "dynamic_ncols": True, "leave": False}
            self.bar = tqdm_class()(desc=self.summary(run), total=1.0, initial=run.done, file=self.out, **look)
        else:
            self.bar.n = run.done
            self.bar.set_description_str(self.summary(run))


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
