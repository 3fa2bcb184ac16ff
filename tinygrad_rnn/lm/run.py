"""A run: training until a limit or a signal, with a checkpoint that is never old and never broken."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from ..data import TextError, Vocabulary, default_text, read_text
from . import checkpoint
from .config import Config, Limits, OptionError, Source
from .progress import Progress
from .train import Trainer


class Interruption:
    """Within the block SIGINT, SIGTERM and SIGHUP are noted in `signal` instead of ending the program.

    The second one does what it always did, so that a person is never locked in. Signals that are ignored stay so.
    """

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

    def __init__(self) -> None:
        self.signal: int | None = None
        self.earlier: dict[int, Any] = {}

    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> Interruption:
        for number in self.SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self.earlier[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        self.earlier = {}


class Run:
    """A trainer, its text, its limits and the file that its state is kept in.

    device: where it computes, which may be another after a resume. seconds: training time so far, over all resumes.
    """

    def __init__(self, config: Config, limits: Limits, text_path: str | None, path: Path, device: str = "cpu"):
        self.limits = limits
        self.path = path
        text = default_text() if text_path is None else read_text(text_path)
        if len(set(text)) < 2:
            raise TextError(f"{text_path}: expected at least 2 different characters, got {len(set(text))}")
        self.source = Source.of(text_path, text)
        vocabulary = Vocabulary.of(text)
        self.trainer = Trainer(config, vocabulary, vocabulary.encode(text), device)
        self.seconds = 0.0

    @classmethod
    def resumed(
        cls, path: Path, given: dict[str, Any], limits: Limits, text_path: str | None, device: str = "cpu"
    ) -> Run:
        """Go on from a file. `given` options must be those of the file; `limits`, if any, replace the earlier ones.

        The text is read from `text_path`, or from where it came from before. Raises OSError or CheckpointError where
        the file cannot be used, OptionError for another option, TextError for another text.
        """
        tree = checkpoint.load(path)
        with checkpoint.reading(str(path)):
            config, earlier = Config(**tree["config"]), Limits(**tree["limits"])
            source, seconds = Source(**tree["source"]), float(tree["seconds"])
        for name, value in given.items():
            if value != getattr(config, name):
                raise OptionError(f"--resume: {name}: expected {getattr(config, name)!r} as in {path}, got {value!r}")
        text_path = source.path if text_path is None else text_path
        run = cls(config, limits if limits.any() else earlier, text_path, path, device)
        if run.source.sha256 != source.sha256:
            found = run.source.path or "the default text of another Python"
            raise TextError(f"--resume: text: expected the one that the run was started with, got another: {found}")
        with checkpoint.reading(str(path)):
            run.trainer.restore(tree)
        run.seconds = seconds
        return run

    def save(self) -> None:
        """Write the whole state to the file."""
        own = {"limits": asdict(self.limits), "source": asdict(self.source), "seconds": self.seconds}
        checkpoint.save(self.path, {**self.trainer.tree(), **own})

    @property
    def done(self) -> float:
        """The part of the run that is done, from 0 to 1: of the limit that is nearest."""
        epochs, steps, minutes = self.limits.epochs, self.limits.steps, self.limits.minutes
        parts = [self.trainer.step / (epochs * len(self.trainer.chunks))] if epochs else []
        parts += [self.trainer.step / steps] if steps else []
        parts += [self.seconds / (60 * minutes)] if minutes else []
        return min(1.0, max(parts, default=0.0))

    def train(self, progress: Progress, save_every: float = 30.0, stop: Callable[[], bool] = lambda: False) -> None:
        """Train until a limit is reached or `stop()` says so; then validate (not after a stop) and save.

        The state is saved before anything else, so that a folder that cannot be written costs no time, after every
        validation, and whenever `save_every` seconds have passed.
        """
        trainer = self.trainer
        started = time.perf_counter() - self.seconds
        saved = time.perf_counter()
        self.save()
        while not stop():
            finished = self.done >= 1
            if trainer.needs_validation or finished and not trainer.is_validated:
                trainer.validate(stop)
                progress.validated(self)
                self.save()
            elif finished:
                break
            else:
                characters = trainer.train_step()
                self.seconds = time.perf_counter() - started
                progress.stepped(self, characters)
                if time.perf_counter() - saved >= save_every:
                    self.save()
                    saved = time.perf_counter()
        self.save()
