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
    """`length` characters that the model expects after `prime`, each as soon as it is drawn.

    A character i is drawn with probability softmax(logits / temperature)_i, or is the likeliest (`greedy`); then the
    model reads it and goes on. An empty prime stands for a line break, or the first character of a vocabulary without.
    The model is put into evaluation mode. The package's random stream is left alone: equal seeds, equal texts.

    Raises TextError for a prime with characters out of the vocabulary, ValueError for a temperature that is not
    a finite number above 0 or a negative length.
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
        with no_grad():  # entered for each step: between two of them the caller runs
            logits, state = model(Tensor(ids[:, None]), state)
        last = to_numpy(logits[-1, 0])
        if not np.isfinite(last).all():
            raise DivergedError("sample: expected finite weights, got a model whose training has diverged")
        chosen = choose(last, temperature, generator)
        yield vocabulary.characters[chosen]
        ids = np.array([chosen])


def choose(logits: np.ndarray, temperature: float, generator: np.random.Generator) -> int:
    """An id drawn from softmax(logits / temperature), logits [V]; temperature 0: the likeliest, the first of equals."""
    if temperature == 0:
        return int(np.argmax(logits))
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    bounds = np.cumsum(weights)
    return min(int(np.searchsorted(bounds, generator.random() * bounds[-1], side="right")), len(logits) - 1)
