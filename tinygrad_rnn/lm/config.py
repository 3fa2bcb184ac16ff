"""The options of a run, each with its default, its limits and a line of help: what the command line is made from."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

from ..cells import BUILT_IN

SHORTEST_PERIOD = 200  # steps that an epoch counts as at least, where something happens once in an epoch
OPTIMISERS = ("adam", "adamw", "rmsprop", "adagrad", "sgd")


@dataclass(frozen=True)
class Allowed:
    """What an option may be: one of `choices`, or a number of `kind` from `low` (or above it) to `high`."""

    help: str
    kind: type = int
    low: float = 1
    high: float = 2**16
    above: bool = False  # low itself is left out
    choices: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """In words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        start = f"a {'whole ' if self.kind is int else ''}number {'above' if self.above else 'from'} {self.low}"
        return start + (" up" if math.isinf(self.high) else f" to {self.high}")

    def check(self, value: Any) -> Any:
        """The value itself; ValueError unless it is allowed."""
        if self.choices:
            fits = value in self.choices
        else:
            kinds = int if self.kind is int else (int, float)
            fits = isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high
            fits = fits and not (self.above and value == self.low)
        if not fits:
            raise ValueError(f"expected {self.wanted}, got {value!r}")
        return value

    def parse(self, text: str) -> Any:
        """The value that a word of the command line stands for; ValueError where it is not allowed."""
        if self.choices:
            return self.check(text)
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(f"expected {self.wanted}, got {text!r}") from None
        return self.check(value)


def option(default: Any, help: str, low: float = 1, high: float = 2**16, **limits: Any) -> Any:
    """A field of an options class."""
    return dataclasses.field(default=default, metadata={"allowed": Allowed(help, low=low, high=high, **limits)})


class OptionError(ValueError):
    """An option that contradicts another or an earlier run, with the reason in one line."""


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight is no longer a number."""


class Options:
    """Base of dataclasses of `option`s: all are checked when one is made; None is what it is by default, if it is."""

    def __post_init__(self) -> None:
        for name, allowed in self.allowed().items():
            try:
                if getattr(self, name) is not None or getattr(type(self), name) is not None:
                    allowed.check(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

    @classmethod
    def allowed(cls) -> dict[str, Allowed]:
        """What each option may be, by name."""
        return {field.name: field.metadata["allowed"] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Config(Options):
    """Everything that decides what a run computes. Raises ValueError for a value out of its limits.

    The learning rate of step k is lr * decay ** (k / steps in an epoch), an epoch counting as SHORTEST_PERIOD steps
    at least. It depends on nothing that a later, longer run could change: a run that is extended goes on as if it
    had been planned so.
    """

    cell: str = option("lstm", "recurrent cell", choices=tuple(BUILT_IN))
    layers: int = option(1, "recurrent layers, one above the other", high=64)
    hidden: int = option(256, "hidden units of a layer")
    embedding: int = option(64, "numbers that stand for a character")
    dropout: float = option(0.25, "dropout before, between and after the layers", kind=float, low=0, high=0.99)
    batch: int = option(32, "streams of text that run side by side")
    bptt: int = option(64, "characters that a gradient goes back through")
    held_out: float = option(0.1, "fraction of the text held out, its tail", kind=float, low=0, high=0.9, above=True)
    validate_every: int = option(0, f"steps between validations; 0: an epoch, at least {SHORTEST_PERIOD}", 0, 10**9)
    optimiser: str = option("adam", "how weights follow gradients", choices=OPTIMISERS)
    lr: float = option(5e-3, "learning rate at the start", kind=float, low=0, high=1000, above=True)
    decay: float = option(0.9, "factor on the learning rate in an epoch", kind=float, low=0, high=1, above=True)
    clip: float = option(1.0, "largest norm of a gradient", kind=float, low=0, high=math.inf, above=True)
    seed: int = option(0, "seed of weights, dropout and sample", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class Limits(Options):
    """A run ends at the first of these that is reached. They count from its start, over all resumes."""

    epochs: int | None = option(None, "times through the text", high=10**9)
    steps: int | None = option(None, "optimiser steps", high=10**12)
    minutes: float | None = option(None, "minutes of training", kind=float, low=0, high=10**7, above=True)

    def any(self) -> bool:
        """Whether there is one."""
        return self != Limits()


DEFAULT_LIMITS = Limits(epochs=24)


STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Source:
    """The text that a run learns: the path as it was given (None: the default text), and the SHA-256 of the content.

    A path "-" is standard input.
    """

    path: str | None
    sha256: str

    @classmethod
    def of(cls, path: str | None, raw: bytes) -> Source:
        """The source of a text, in UTF-8."""
        return cls(path, hashlib.sha256(raw).hexdigest())

    @property
    def said(self) -> str:
        """In words."""
        return {None: "Python's language reference", STANDARD_INPUT: "standard input"}.get(self.path, str(self.path))
