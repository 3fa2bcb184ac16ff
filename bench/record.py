"""What is measured: a record is one model at one shape and all who can run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "tinygrad_rnn"
KINDS = ("LSTM", "GRU", "RNN")

# Does the work once, and returns the arrays that all contenders must agree on.
Run = Callable[[], Sequence[Any]]
# From the number of threads. Imports what it needs, and gives the model its weights, which are the same for all.
Build = Callable[[int], Run]


class Unavailable(Exception):
    """A contender that cannot run on this machine, with the reason."""


@dataclass(frozen=True)
class Record:
    """A model at a shape. The first word of a contender's name is its package: "torch", "torch loop", "torch.compile".

    task: "train" (forward, backward, all gradients) or "infer".
    flops: multiplications and additions of the matrix products. bytes: the least that must be moved: weights, inputs
        and outputs once each, and in training their gradients too. 0: not counted.
    threads: the number that is best for everyone here; 0: as many as were asked for.
    calls: how many calls are compared; more than one where each changes the weights.
    unit: "s", or "bytes" of a `Spawned` run.
    axis: the dimension along which a record of growth is one point.
    quick: whether `--quick` keeps it.
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
        """For people and for the ids of pytest."""
        sizes = " ".join(f"{name}={size}" for name, size in self.shape.items())
        threads = f" threads={self.threads}" if self.axis == "threads" else ""
        return f"{self.group}: {self.cell} {self.task} {sizes}{threads}" + (" memory" if self.unit == "bytes" else "")


def is_peer(contender: str) -> bool:
    """Whether it is not a way of this library."""
    return not contender.startswith(OURS)
