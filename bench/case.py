"""The case of a benchmark: one model at one shape, and all contenders that can run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "tinygrad_rnn"
KINDS = ("LSTM", "GRU", "RNN")

Run = Callable[[], Sequence[Any]]
"""Do the work once, and return the arrays in which all contenders must agree."""
Build = Callable[[int], Run]
"""Make a Run for a number of threads: import the library, make the model, and load the weights that all share."""


class Unavailable(Exception):
    """A contender cannot run on this machine; the message gives the reason."""


@dataclass(frozen=True)
class Case:
    """A model at a shape. The first word of a contender's name is its package: "torch", "torch loop", "torch.compile".

    task: "train" (forward, backward, all gradients) or "infer".
    flops: multiplications and additions of the matrix products; 0: not counted.
    bytes: the least memory traffic: weights, inputs and outputs once each, in training their gradients too; 0: not
        counted.
    threads: the number that is best for every contender; 0: the number that the user asked for.
    calls: the number of calls to compare; more than one if each call changes the weights.
    unit: "s", or "bytes" for a `Spawned` run.
    axis: for a case of the group growth, the dimension along which it is a point.
    quick: `--quick` includes the case.
    """

    group: str
    cell: str
    task: str
    shape: Mapping[str, int]
    contenders: Mapping[str, Build]
    flops: float = 0.0
    bytes: float = 0.0
    threads: int = 0
    calls: int = 1
    unit: str = "s"
    axis: str = ""
    quick: bool = False

    @property
    def name(self) -> str:
        """Return the case in words, which is also its id in pytest."""
        sizes = " ".join(f"{name}={size}" for name, size in self.shape.items())
        threads = f" threads={self.threads}" if self.axis == "threads" else ""
        return f"{self.group}: {self.cell} {self.task} {sizes}{threads}" + (" memory" if self.unit == "bytes" else "")


def is_peer(contender: str) -> bool:
    """Return whether a contender is another library."""
    return not contender.startswith(OURS)
