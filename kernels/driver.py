"""The interface of every sequence driver, and the choice between the reference in NumPy, the CPU's and CUDA's."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np

from .ir.program import Step
from .ir.sequence_args import Array, SequenceArgs, check
from .runtime import locks

VARIABLE = "TINYGRAD_RNN_DRIVER"
"""Environment variable that chooses the sequence driver: `reference`, or `cpu` (the default)."""

Results = tuple[list[Array], list[Array], Any]
"""The sequence of each state [T, N, P or H], each state after the last real step [N, P or H], and the data that the
driver's backward needs, or None."""

BackwardArgs = tuple[SequenceArgs, Any, Sequence[Array | None], Sequence[Array | None]]
"""A sequence, the data that its forward saved, and the cotangents of outputs and last states; None stands for 0."""


class Driver(Protocol):
    """A sequence driver: a module or an object that runs a step over one sequence, forward and backward.

    runs_together: whether it is a `TogetherDriver`, too.
    """

    runs_together: bool

    def forward(self, step: Step, seq: SequenceArgs, keep: bool) -> Results:
        """Run the step over the sequence. keep: also return the data for the backward, and every state's sequence."""
        ...

    def backward(
        self,
        step: Step,
        seq: SequenceArgs,
        saved: Any,
        d_outputs: Sequence[Array | None],
        d_final: Sequence[Array | None],
        wants_x: bool = True,
        wants_initial: bool = True,
    ) -> SequenceArgs:
        """Return the cotangents of all arrays of the sequence. Without `wants_x` the x of the result is None."""
        ...


class TogetherDriver(Driver, Protocol):
    """A driver that also runs several sequences at once: the directions of a layer, or the layers of a stack."""

    def forward_directions(self, step: Step, seqs: Sequence[SequenceArgs], keep: bool) -> list[Results]:
        """Run `forward` on sequences of the same sizes and lengths."""
        ...

    def forward_stack(self, step: Step, seqs: Sequence[SequenceArgs], keep: bool) -> list[Results]:
        """Run `forward` on layers. Each layer reads the h of the one before; only the first has an x."""
        ...

    def backward_directions(
        self, step: Step, several: Sequence[BackwardArgs], wants_x: bool = True, wants_initial: bool = True
    ) -> list[SequenceArgs]:
        """Run `backward` on each sequence of `forward_directions`."""
        ...

    def backward_stack(
        self, step: Step, stack: Sequence[BackwardArgs], wants_x: bool = True, wants_initial: bool = True
    ) -> list[SequenceArgs]:
        """Run `backward` on each layer of `forward_stack`. Only the first has a cotangent of x."""
        ...


@functools.cache
def wanted_driver() -> str:
    """Return the driver that the environment asks for, read only once: reading takes as long as a small kernel."""
    wanted = os.environ.get(VARIABLE) or "cpu"
    if wanted not in ("cpu", "reference"):
        raise ValueError(f"{VARIABLE}: expected 'cpu' or 'reference', got {wanted!r}")
    if wanted == "cpu":
        from .cpu.runtime.host import require_compiler

        require_compiler()
    return wanted


@functools.cache
def module(name: str) -> Any:
    """Return a module of the kernels, imported at its first use, because Numba takes a while to import."""
    with locks.held(locks.building):
        return importlib.import_module(name, __package__)


def driver_like(x: Array) -> Driver:
    """Return the driver for arrays like x: CUDA's for arrays on a GPU, otherwise the one that the environment asks for.

    An empty x runs on the reference, since it is not worth compiling code. Raise ValueError if the environment asks for
    an unknown driver.
    """
    if not isinstance(x, np.ndarray):
        return module(".cuda.driver")
    if wanted_driver() == "reference" or 0 in x.shape:
        return module(".reference.driver")
    return module(".cpu.driver")


def driver_for(step: Step, sequence: SequenceArgs) -> Driver:
    """Return the driver that runs a step over a sequence.

    Raise ValueError or TypeError as `check` does if the arrays do not fit each other: drivers read raw memory.
    """
    check(step, sequence)
    return driver_like(sequence.x)


def is_together(driver: Driver) -> TypeGuard[TogetherDriver]:
    """Return whether a driver runs several sequences at once."""
    return driver.runs_together


def infer(
    step: Step, weights: Sequence[np.ndarray | None], x: np.ndarray, initial: Sequence[np.ndarray], reverse: bool
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Run a forward that saves nothing on the fast path of `cpu.driver`. Return None if there is no such path."""
    return module(".cpu.driver").infer(step, weights, x, initial, reverse) if wanted_driver() == "cpu" else None
