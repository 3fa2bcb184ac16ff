"""The options of a run, each with default, limits and help text; the command line is made from them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

from ..cells import BUILT_IN

SHORTEST_PERIOD = 200  # the fewest steps between two events that happen once in an epoch
CELLS = tuple(name for name, cell in BUILT_IN.items() if not cell.inputs)  # the model has no masks to give a cell
OPTIMISERS = ("adam", "adamw", "rmsprop", "adagrad", "sgd")


@dataclass(frozen=True)
class Allowed:
    """The allowed values of an option: one of `choices`, or a number of `kind` from `low` (or above it) to `high`."""

    help: str
    kind: type = int
    low: float = 1
    high: float = 2**16
    above: bool = False  # low itself is not allowed
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """The allowed values in words, for an error."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        start = f"a {'whole ' if self.kind is int else ''}number {'above' if self.above else 'from'} {self.low}"
        return start + (" up" if math.isinf(self.high) else f" to {self.high}")

    def check(self, value: Any) -> Any:
        """Return the value. Raise ValueError unless it is allowed."""
        if self.choices:
            fits = value in self.choices
        else:
            kinds = int if self.kind is int else (int, float)
            fits = isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high
            fits = fits and not (self.above and value == self.low)
        if not fits:
            raise ValueError(f"expected {self.expected}, got {value!r}")
        return value

    def parse(self, text: str) -> Any:
        """Return the value of a word of the command line. Raise ValueError unless it is allowed."""
        if self.choices:
            return self.check(text)
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(f"expected {self.expected}, got {text!r}") from None
        return self.check(value)


def option(default: Any, help: str, low: float = 1, high: float = 2**16, **limits: Any) -> Any:
    """Return a dataclass field for an option, with its default, help text and allowed values."""
    return dataclasses.field(default=default, metadata={"allowed": Allowed(help, low=low, high=high, **limits)})


class OptionError(ValueError):
    """An option contradicts another option or an earlier run; the message is one line."""


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight is infinite or NaN."""


class Options:
    """Base of dataclasses whose fields are `option`s. It checks each value. None is allowed where it is the default."""

    def __post_init__(self) -> None:
        for name, allowed in self.allowed().items():
            try:
                if getattr(self, name) is not None or getattr(type(self), name) is not None:
                    allowed.check(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

    @classmethod
    def allowed(cls) -> dict[str, Allowed]:
        """Return the allowed values of each option, by name."""
        return {field.name: field.metadata["allowed"] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Config(Options):
    """All options that the numbers of a run depend on. Raises ValueError for a value outside its limits.

    The learning rate of step k is lr * decay ** (k / P). P is the number of steps in an epoch, but at least
    SHORTEST_PERIOD. The rate does not depend on the limits of the run: a run that is extended later has the same rates
    as a longer run.
    """

    cell: str = option("lstm", "recurrent cell", choices=CELLS)
    layers: int = option(1, "number of recurrent layers", high=64)
    hidden: int = option(256, "hidden units per layer")
    embedding: int = option(64, "size of the vector that represents a character")
    dropout: float = option(0.25, "dropout before, between and after the layers", kind=float, low=0, high=0.99)
    batch: int = option(32, "streams of text that train in parallel")
    bptt: int = option(64, "characters that back-propagation through time covers")
    held_out: float = option(
        0.1, "fraction of the text, at its end, that is not trained on", kind=float, low=0, high=0.9, above=True
    )
    validate_every: int = option(0, f"steps between validations; 0: one epoch, at least {SHORTEST_PERIOD}", 0, 10**9)
    optimiser: str = option("adam", "optimiser", choices=OPTIMISERS)
    lr: float = option(5e-3, "learning rate at the start", kind=float, low=0, high=1000, above=True)
    decay: float = option(
        0.9, "factor that each epoch multiplies the learning rate by", kind=float, low=0, high=1, above=True
    )
    clip: float = option(
        1.0, "largest gradient norm; a larger gradient is scaled down", kind=float, low=0, high=math.inf, above=True
    )
    seed: int = option(0, "seed of the weights, the dropout and the sample", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class Limits(Options):
    """The limits of a run. It ends at the first limit that it reaches. All count from its start, over all resumes."""

    epochs: int | None = option(None, "passes over the text", high=10**9)
    steps: int | None = option(None, "optimiser steps", high=10**12)
    minutes: float | None = option(None, "minutes of training", kind=float, low=0, high=10**7, above=True)

    def any(self) -> bool:
        """Return whether there is a limit."""
        return self != Limits()


DEFAULT_LIMITS = Limits(epochs=24)


STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Source:
    """The text that a run trains on: its path (None: the default text; "-": standard input) and its SHA-256."""

    path: str | None
    sha256: str

    @classmethod
    def of(cls, path: str | None, raw: bytes) -> Source:
        """Return the source of a text, given in UTF-8."""
        return cls(path, hashlib.sha256(raw).hexdigest())

    @property
    def label(self) -> str:
        """The source in words, for a message."""
        return {None: "Python's language reference", STANDARD_INPUT: "standard input"}.get(self.path, str(self.path))
