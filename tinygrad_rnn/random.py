"""The one stream of random numbers that initial weights, dropout masks and samples are drawn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import device

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The generator that everything in this package draws from."""
    return _generator


def uniform(shape: Sequence[int], beside: Any) -> Any:
    """float32 drawn evenly from [0, 1), as an array where a tensor is.

    On a GPU they are drawn there, from a seed that this stream gives: its state stays all that there is to save.
    """
    if device.device_of(beside) == "cpu":
        return _generator.random(shape, np.float32)
    return device.uniform(shape, int(_generator.integers(2**63)))


def manual_seed(seed: int) -> None:
    """Start the stream anew, so that what follows can be repeated to the last bit."""
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"manual_seed: expected a whole number from 0 up, got {seed!r}")
    _generator = np.random.default_rng(int(seed))


def get_rng_state() -> str:
    """The state of the stream as text, for a checkpoint."""
    return json.dumps(_generator.bit_generator.state)


def set_rng_state(state: str) -> None:
    """Go on from a state that `get_rng_state` gave."""
    try:
        _generator.bit_generator.state = json.loads(state)
    except (ArithmeticError, ValueError, TypeError, KeyError):
        raise ValueError(f"set_rng_state: state: expected what get_rng_state gave, got {state!r:.40}") from None
