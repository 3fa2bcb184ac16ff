"""The one stream of random numbers that initial weights, dropout masks and samples are drawn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import device

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """Return the generator that everything in this package draws from."""
    return _generator


def uniform(shape: Sequence[int], like: Any) -> Any:
    """Return float32 numbers drawn evenly from [0, 1), on the device of a tensor or array.

    A GPU draws them itself, from a seed that this stream gives, so the state of this stream is all that must be saved.
    """
    if device.device_of(like) == "cpu":
        return _generator.random(shape, np.float32)
    return device.uniform(shape, int(_generator.integers(2**63)))


def manual_seed(seed: int) -> None:
    """Start the stream again, so that all numbers drawn from it repeat to the last bit."""
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"manual_seed: expected a whole number from 0 up, got {seed!r}")
    _generator = np.random.default_rng(int(seed))


def get_rng_state() -> str:
    """Return the state of the stream as text, for a checkpoint."""
    return json.dumps(_generator.bit_generator.state)


def set_rng_state(state: str) -> None:
    """Go on from a state that `get_rng_state` gave. Raise ValueError, with nothing changed, for any other."""
    found = checked_rng_state(state)
    _generator.bit_generator.state = found


def checked_rng_state(state: str) -> dict[str, Any]:
    """Return the state that a text of `get_rng_state` holds. Raise ValueError for any other text."""
    own = _generator.bit_generator.state
    try:
        found = json.loads(state) if isinstance(state, str) else None
        fits = found.keys() == own.keys() and found["bit_generator"] == own["bit_generator"]
        numbers = [(found["state"][name], 128) for name in own["state"]]
        numbers += [(found["has_uint32"], 1), (found["uinteger"], 32)]
        fits = fits and found["state"].keys() == own["state"].keys()
        fits = fits and all(type(n) is int and 0 <= n < 2**bits for n, bits in numbers)
        fits = fits and found["state"]["inc"] % 2 == 1  # PCG64's streams; an even one repeats itself much sooner
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        fits = False
    if not fits:
        got = repr(state[:40]) if isinstance(state, str) else type(state).__name__
        raise ValueError(f"set_rng_state: state: expected what get_rng_state gave, got {got}")
    return found
