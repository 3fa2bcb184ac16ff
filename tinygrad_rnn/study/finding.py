"""A claim, and the finding that its measurement gives. `CLAIMS` is the registry of all claims, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.random import get_rng_state, manual_seed, set_rng_state
from ..tensor import Tensor

VERDICTS = ("confirmed", "qualified", "wrong")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Curves:
    """The data of a picture: for each label its x and y, lists or arrays. log: which axes of "xy" are logarithmic."""

    x: str
    y: str
    curves: Mapping[str, tuple[Any, Any]]
    log: str = ""


@dataclass(frozen=True)
class Finding:
    """The result of a measurement: a table of figures, the verdict and its reason, and the data of a picture.

    header, rows: the table, all as text. verdict: one of VERDICTS. claim: the sentence, which `Claim.measure` adds.
    Raises ValueError for another verdict, and for a row that is not as long as the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: str
    reason: str
    plot: Curves | None = None
    claim: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"Finding: verdict: expected one of {', '.join(VERDICTS)}, got {self.verdict!r}")
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"Finding: rows: expected {len(self.header)} columns, got {len(row)}: {row!r}")


@dataclass(frozen=True)
class Claim:
    """A claim in one sentence, and the function that measures it."""

    name: str
    sentence: str
    function: Callable[[int, Progress], Finding]

    def measure(self, seed: int = 0, progress: Progress = lambda text: None) -> Finding:
        """Return the finding. Equal seeds give equal figures, except for bytes of memory, on any number of threads.

        The stream of `tinygrad_rnn.manual_seed` is restored. progress: called with a few words when a part of a longer
        measurement begins.
        """
        state = get_rng_state()
        manual_seed(seed)
        try:
            return replace(self.function(seed, progress), claim=self.sentence)
        finally:
            set_rng_state(state)


CLAIMS: dict[str, Claim] = {}


def claim(name: str, sentence: str) -> Callable[[Callable[[int, Progress], Finding]], Claim]:
    """Return a decorator that registers a function `f(seed, progress)`, which returns a Finding, as a claim."""

    def register(function: Callable[[int, Progress], Finding]) -> Claim:
        if name in CLAIMS:
            raise ValueError(f"claim: name: expected a new one, got {name!r}")
        CLAIMS[name] = Claim(name, sentence, function)
        return CLAIMS[name]

    return register


def gradient_of(parameter: Tensor) -> np.ndarray:
    """Return the gradient of a parameter that has one, as an array."""
    assert parameter.grad is not None
    return parameter.grad.numpy()


def figure(value: float | np.floating[Any], digits: int = 3) -> str:
    """Return a number with a few significant digits: 0.123, 12.3, 1.2e-05."""
    return f"{value:.{digits}g}"
