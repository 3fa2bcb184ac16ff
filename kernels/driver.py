"""Which driver runs a step over a sequence: the reference in NumPy, the CPU's or CUDA's."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from .ir.program import Step
from .ir.sequence_args import Array, SequenceArgs, check
from .runtime import locks

VARIABLE = "TINYGRAD_RNN_DRIVER"
"""Environment variable that chooses the sequence driver: `reference`, or `cpu` (the default)."""


@functools.cache
def wanted_driver() -> str:
    """Read from the environment once: to read it takes as long as a small layer's kernel."""
    wanted = os.environ.get(VARIABLE) or "cpu"
    if wanted not in ("cpu", "reference"):
        raise ValueError(f"{VARIABLE}: expected 'cpu' or 'reference', got {wanted!r}")
    if wanted == "cpu":
        from .cpu.runtime.host import require_compiler

        require_compiler()
    return wanted


@functools.cache
def module(name: str) -> ModuleType:
    """A module of the kernels, imported when first wanted: Numba takes a while to import."""
    with locks.held(locks.building):
        return importlib.import_module(name, __package__)


def driver_for(step: Step, sequence: SequenceArgs) -> ModuleType:
    """The driver, with `forward` and `backward`, that runs a step over a sequence.

    The compiled one, but for a sequence of no numbers, where there is nothing to compile for; for arrays on a GPU
    always the one there. Raises ValueError where the environment asks for a driver that there is not, and as `check`
    does where the arrays do not fit each other: drivers read raw memory.
    """
    check(step, sequence)
    if not isinstance(sequence.x, np.ndarray):
        return module(".cuda.driver")
    if wanted_driver() == "reference" or 0 in sequence.x.shape:
        return module(".reference.driver")
    return module(".cpu.driver")


def runs_together(x: Array) -> bool:
    """Return whether the driver for arrays like x has `forward_directions`, `forward_stack` and their backwards."""
    return not isinstance(x, np.ndarray)


def infer(
    step: Step, weights: Sequence[np.ndarray | None], x: np.ndarray, initial: Sequence[np.ndarray], reverse: bool
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """A forward that keeps nothing, by the compiled driver's short way; None where it has none: see `cpu.driver`."""
    return module(".cpu.driver").infer(step, weights, x, initial, reverse) if wanted_driver() == "cpu" else None
