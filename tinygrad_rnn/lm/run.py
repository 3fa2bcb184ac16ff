"""A run: training until a limit or a signal, with checkpoints on the way."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ..data import TextError, Vocabulary, decode_text, default_text, read_text
from ..data.files import open_regular, read_standard_input, size_of
from . import checkpoint
from .check import layout
from .config import STANDARD_INPUT, Config, Limits, OptionError, Source
from .train import Trainer


class Interruption:
    """A block in which the first SIGINT, SIGTERM or SIGHUP is stored in `signal` and does not end the program.

    The second signal has its usual effect, so that a user can always end the program. Ignored signals stay ignored.
    Python handles signals in the main thread only; in another thread the block changes nothing.
    """

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

    def __init__(self) -> None:
        self.signal: int | None = None
        self.previous_handlers: dict[int, Any] = {}

    def requested(self) -> bool:
        """Return whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in self.SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self.previous_handlers[number] = signal.signal(number, self._store)
        return self

    def _store(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)
        self.previous_handlers = {}


class Listener(Protocol):
    """The methods that a run calls to report its progress; see `progress.Progress`."""

    def stepped(self, run: Run, characters: int) -> None:
        """Note that the run has done a step of so many characters."""

    def validated(self, run: Run) -> None:
        """Note that the run has validated, or was stopped during the validation."""

    def line(self, text: str) -> None:
        """Show a line of text."""


LARGEST_UNSIZED = 2**30  # bytes: the largest text that an old checkpoint, which has no text_size, may name


class Run:
    """A trainer, its text, its limits and the file of its checkpoint.

    text_path: None for the default text, "-" for standard input. text: the text itself, if the caller has read it.
    device: the device of the computation; a resume may choose another.

    seconds: training time so far, over all resumes. saved: the step of the checkpoint in the file.
    """

    def __init__(
        self,
        config: Config,
        limits: Limits,
        text_path: str | None,
        path: Path,
        device: str = "cpu",
        text: str | None = None,
    ):
        self.limits = limits
        self.path = path
        text = _read(text_path) if text is None else text
        raw = text.encode()
        self.source, self.text_size = Source.of(text_path, raw), len(raw)
        del raw
        characters = set(text)
        if len(characters) < 2:
            raise TextError(f"{self.source.label}: expected at least 2 different characters, got {len(characters)}")
        vocabulary = Vocabulary("".join(sorted(characters)))
        self.trainer = Trainer(config, vocabulary, vocabulary.encode(text, dtype=vocabulary.dtype), device)
        self.seconds = 0.0
        self.saved: int | None = None
        self._warned = False

    @classmethod
    def resumed(
        cls, path: Path, given: dict[str, Any], limits: Limits, text_path: str | None, device: str = "cpu"
    ) -> Run:
        """Return the run of a checkpoint. `given` options must equal those in it; `limits`, if any, replace its own.

        The text comes from `text_path`, or from the place that the checkpoint names. Raises OSError or CheckpointError
        for a file that cannot be used, OptionError for another option, TextError for another text or a missing one.
        """
        tree = checkpoint.load(path, layout)
        with checkpoint.reading(str(path)):
            config, earlier = Config(**tree["config"]), Limits(**tree["limits"])
            source, seconds = Source(**tree["source"]), float(tree["seconds"])
        for name, value in given.items():
            if value != getattr(config, name):
                raise OptionError(f"--resume: {name}: expected {getattr(config, name)!r} as in {path}, got {value!r}")
        if text_path is None:
            text = _read_again(source, tree.get("text_size"))
        else:
            text = _read(text_path)
        text_path = source.path if text_path is None else text_path
        if Source.of(text_path, text.encode()).sha256 != source.sha256:
            raise _another_text(text_path)
        run = cls(config, limits if limits.any() else earlier, text_path, path, device, text)
        with checkpoint.reading(str(path)):
            run.trainer.restore(tree)
        run.seconds = seconds
        return run

    def save(self) -> None:
        """Write the whole state to the file. Raises OSError if that fails."""
        own = {"limits": asdict(self.limits), "source": asdict(self.source), "seconds": self.seconds}
        checkpoint.save(self.path, {**self.trainer.tree(), **own, "text_size": self.text_size})
        self.saved = self.trainer.step

    def save_at_last(self) -> None:
        """Save for the last time. If that fails, the OSError names the step that is lost."""
        try:
            self.save()
        except OSError as error:
            kept = "" if self.saved is None else f"; the file has that of step {self.saved:,}"
            lost = f"{error.strerror}: the state of step {self.trainer.step:,} could not be saved{kept}"
            raise OSError(error.errno, lost, str(self.path)) from error

    def save_or_warn(self, progress: Listener) -> None:
        """Save. After a failure (a full disk, say) warn once and continue the training."""
        try:
            self.save()
        except OSError as error:
            if not self._warned:
                lost = f"{self.path}: {error.strerror}: the state of step {self.trainer.step:,} could not be saved"
                progress.line(f"warning: {lost}: training goes on, and it is tried again")
            self._warned = True
        else:
            if self._warned:
                progress.line(f"saved again at step {self.trainer.step:,}")
            self._warned = False

    @property
    def done(self) -> float:
        """The fraction of the run that is done, from 0 to 1, by the limit that it will reach first."""
        epochs, steps, minutes = self.limits.epochs, self.limits.steps, self.limits.minutes
        parts = [self.trainer.step / (epochs * len(self.trainer.chunks))] if epochs else []
        parts += [self.trainer.step / steps] if steps else []
        parts += [self.seconds / (60 * minutes)] if minutes else []
        return min(1.0, max(parts, default=0.0))

    def train(self, progress: Listener, save_every: float = 30.0, stop: Callable[[], bool] = lambda: False) -> None:
        """Train until a limit is reached or `stop()` returns True; then validate (not after a stop) and save.

        Save before the first step (so that a folder without write permission costs no training time), after every
        validation, and every `save_every` seconds. A failed save only gives a warning, but if the first or the last
        save fails, raise OSError.
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
                self.save_or_warn(progress)
            elif finished:
                break
            else:
                characters = trainer.train_step()
                self.seconds = time.perf_counter() - started
                progress.stepped(self, characters)
                if time.perf_counter() - saved >= save_every:
                    self.save_or_warn(progress)
                    saved = time.perf_counter()
        self.save_at_last()


def _read(path: str | None) -> str:
    """Return the text that the user names."""
    if path is None:
        return default_text()
    if path == STANDARD_INPUT:
        return decode_text(read_standard_input("--text -"), "standard input")
    return read_text(path)


def _read_again(source: Source, size: int | None) -> str:
    """Return the text that a checkpoint names.

    The name may come from a stranger's file: read a regular file of the stored size only.
    """
    if source.path is None:
        return default_text()
    if source.path == STANDARD_INPUT:
        raise TextError("--resume: text: the run read it from standard input: give it again: --text FILE, or --text -")
    try:
        with open_regular(source.path) as file:
            found = size_of(file)
            if found > LARGEST_UNSIZED if size is None else found not in (size, size + 3):  # 3: a byte order mark
                raise _another_text(source.path)
            raw = file.read(found)
    except OSError as error:
        reason = f"{source.path}: {error.strerror or error}"
        raise TextError(f"--resume: text: {reason}: if the text is elsewhere, name it: --text FILE") from error
    return decode_text(raw, source.path)


def _another_text(path: str | None) -> TextError:
    found = "the default text of another Python" if path is None else f"{path}: name it by --text FILE"
    return TextError(f"--resume: text: expected the one that the run was started with, got another: {found}")
