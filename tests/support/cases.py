"""Random cases for the fuzzers: each run has a new seed and a small budget; an environment variable multiplies it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

VARIABLE = "TINYGRAD_RNN_FUZZ"
"""Environment variable that multiplies the budget of every fuzzer: `TINYGRAD_RNN_FUZZ=50 pytest tests/fuzz`."""

SEED = "TINYGRAD_RNN_FUZZ_SEED"
"""Environment variable that sets the seed, to repeat a run: every failure's message names its seed."""


def budget(cases: int) -> int:
    """Return how many cases to try, where the short form tries `cases`."""
    return max(1, round(cases * float(os.environ.get(VARIABLE) or 1)))


@functools.cache
def run_seed() -> int:
    """Return the seed of this process: the one in the environment, or a random one."""
    given = os.environ.get(SEED)
    return int(given) if given else int.from_bytes(os.urandom(4), "little")


def generators(cases: int) -> Iterator[tuple[str, np.random.Generator]]:
    """Yield a label and a generator of random numbers for each case within the budget."""
    seed = run_seed()
    for case in range(budget(cases)):
        yield f"{SEED}={seed}, case {case}", np.random.default_rng([seed, case])


def one_of(choices: Sequence[Any]) -> Any:
    """Return one of the choices; it depends only on the seed of this process."""
    return choices[run_seed() % len(choices)]


def log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw a whole number from low to high. Its logarithm is uniform, so small numbers are as likely as large ones."""
    return min(high, int(np.exp(rng.uniform(np.log(low), np.log(high + 1)))))
