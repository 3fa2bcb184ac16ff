"""Text from a character model, one character after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ..arrays.device import to_numpy
from ..autograd.grad_modes import no_grad
from ..data import Vocabulary
from ..decode.choice import check_choice, choose
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
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[str]:
    """Yield `length` characters that continue `prime`, each as soon as it is drawn.

    Character i is drawn with probability softmax(logits / temperature)_i, or is the most likely one (`greedy`); then
    the model reads it. top_k and top_p exclude less likely characters from the draw, as in `decode.generate`. An empty
    prime means a line break, or the first character of a vocabulary without one. The call sets the model to evaluation
    mode, and draws from a stream of its own: equal seeds give equal texts.

    Raises TextError for a prime with unknown characters, ValueError for a temperature that is not a finite number
    above 0, a negative length, top_k below 1 or top_p outside of (0, 1], DivergedError for a model with infinite or
    NaN logits.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"sample: temperature: expected a finite number above 0, got {temperature!r}")
    if length < 0:
        raise ValueError(f"sample: length: expected a whole number from 0 up, got {length!r}")
    check_choice("sample", temperature, top_k, top_p)
    start = prime or ("\n" if "\n" in vocabulary.characters else vocabulary.characters[0])
    generator = np.random.default_rng(seed)
    choose_id = partial(choose, temperature=0 if greedy else temperature, generator=generator, top_k=top_k, top_p=top_p)
    return _characters(model, vocabulary, vocabulary.encode(start, "prime"), length, choose_id)


def _characters(
    model: CharModel, vocabulary: Vocabulary, ids: np.ndarray, length: int, choose_id: Callable[[np.ndarray], int]
) -> Iterator[str]:
    model.eval()
    state = None
    for _ in range(length):
        with no_grad():  # per step, because the caller's code runs between two steps
            logits, state = model(Tensor(ids[:, None]), state)
        last = to_numpy(logits[-1, 0])
        if not np.isfinite(last).all():
            raise DivergedError("sample: expected finite weights, got a model whose training has diverged")
        chosen = choose_id(last)
        yield vocabulary.characters[chosen]
        ids = np.array([chosen])
