"""Text from a character model, one character after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..arrays.device import to_numpy
from ..autograd.grad_modes import no_grad
from ..data import Vocabulary
from ..tensor import Tensor
from .config import DivergedError
from .model import CharModel


def sample(
    model: CharModel,
    vocabulary: Vocabulary,
    length: int,
    prime: str = "",
    temperature: float = 1.0,
    greedy: bool = False,
    seed: int | None = None,
) -> Iterator[str]:
    """Yield `length` characters that continue `prime`, each as soon as it is drawn.

    Character i is drawn with probability softmax(logits / temperature)_i, or is the most likely one (`greedy`); then
    the model reads it. An empty prime means a line break, or the first character of a vocabulary without one. The
    call sets the model to evaluation mode, and draws from a stream of its own: equal seeds give equal texts.

    Raises TextError for a prime with unknown characters, ValueError for a temperature that is not a finite number
    above 0 or a negative length, DivergedError for a model with infinite or NaN logits.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"sample: temperature: expected a finite number above 0, got {temperature!r}")
    if length < 0:
        raise ValueError(f"sample: length: expected a whole number from 0 up, got {length!r}")
    start = prime or ("\n" if "\n" in vocabulary.characters else vocabulary.characters[0])
    return _characters(model, vocabulary, vocabulary.encode(start, "prime"), length, 0 if greedy else temperature, seed)


def _characters(
    model: CharModel, vocabulary: Vocabulary, ids: np.ndarray, length: int, temperature: float, seed: int | None
) -> Iterator[str]:
    generator = np.random.default_rng(seed)
    model.eval()
    state = None
    for _ in range(length):
        with no_grad():  # per step, because the caller's code runs between two steps
            logits, state = model(Tensor(ids[:, None]), state)
        last = to_numpy(logits[-1, 0])
        if not np.isfinite(last).all():
            raise DivergedError("sample: expected finite weights, got a model whose training has diverged")
        chosen = choose(last, temperature, generator)
        yield vocabulary.characters[chosen]
        ids = np.array([chosen])


def choose(logits: np.ndarray, temperature: float, generator: np.random.Generator) -> int:
    """Return an id drawn from softmax(logits / temperature), logits [V]; for temperature 0 the first most likely id."""
    if temperature == 0:
        return int(np.argmax(logits))
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    bounds = np.cumsum(weights)
    return min(int(np.searchsorted(bounds, generator.random() * bounds[-1], side="right")), len(logits) - 1)
