"""The training that claims need: a recurrent layer with a linear read-out, and the tasks it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn, optim
from ..autograd.grad_modes import no_grad
from ..nn.utils import clip_grad_norm_
from ..tensor import Tensor
from ..tensor.creation import tensor

Batch = tuple[np.ndarray, np.ndarray]
"""x [T, N, I] float32, and the ids of the classes, [T, N] for each step or [N] for the last step."""


class Reader(nn.Module):
    """A recurrent layer and a linear layer that reads its output: scores of classes for each step."""

    def __init__(self, layer: Any, classes: int):
        super().__init__()
        self.layer, self.linear = layer, nn.Linear(layer.output_size, classes)

    def forward(self, x: Any) -> Tensor:
        """Return the scores [T, N, classes] for x [T, N, I]."""
        return self.linear(self.layer(x)[0])


def _scores(model: Any, batch: Batch) -> tuple[Tensor, np.ndarray]:
    """Return scores [K, classes] and ids [K] of the steps that the batch has a class for."""
    x, target = batch
    scores = model(tensor(x))
    scores = scores if target.ndim == 2 else scores[-1]
    return scores.reshape(target.size, -1), target.reshape(-1)


def train(model: Any, batches: Callable[[], Batch], steps: int, lr: float = 5e-3, clip: float = 1.0) -> float:
    """Train a model by Adam on new batches, with gradient clipping. Return the mean loss of the last tenth of steps."""
    optimiser, losses = optim.Adam(model.parameters(), lr=lr), []
    for _ in range(steps):
        scores, target = _scores(model, batches())
        loss = nn.functional.cross_entropy(scores, tensor(target))
        optimiser.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        losses.append(float(loss.item()))
    return float(np.mean(losses[-max(1, steps // 10) :]))


def accuracy(model: Any, batch: Batch) -> float:
    """Return the share of right answers."""
    with no_grad():
        scores, target = _scores(model, batch)
    return float((scores.numpy().argmax(-1) == target).mean())


def one_hot(ids: np.ndarray, classes: int) -> np.ndarray:
    """Return float32 vectors [..., classes] with a 1 at each id."""
    return np.eye(classes, dtype="f")[ids]


def recall(generator: np.random.Generator, delay: int, steps: int = 20, count: int = 32) -> Batch:
    """Return random symbols of 4, and for each step the symbol of `delay` steps before (0 at the start)."""
    ids = generator.integers(0, 4, (steps, count))
    target = np.zeros_like(ids)
    target[delay:] = ids[: steps - delay]
    return one_hot(ids, 4), target


def first_symbol(generator: np.random.Generator, steps: int, count: int = 64) -> Batch:
    """Return random bits as -1 and 1, and the first of each sequence as its class."""
    ids = generator.integers(0, 2, (steps, count))
    return (2.0 * ids[..., None] - 1.0).astype("f"), ids[0]


def majority(generator: np.random.Generator, steps: int, count: int = 64) -> Batch:
    """Return random bits as -1 and 1, and the more frequent one of each sequence as its class; steps is odd."""
    ids = generator.integers(0, 2, (steps, count))
    return (2.0 * ids[..., None] - 1.0).astype("f"), (2 * ids.sum(0) > steps).astype(np.int64)


def order(generator: np.random.Generator, steps: int = 30, count: int = 64) -> Batch:
    """Return the temporal order task: two marks, each X or Y, among four distractors; a class for each of 4 orders.

    The marks stand in the second and in the sixth tenth of the sequence. Hochreiter and Schmidhuber, Long short-term
    memory (1997), experiment 6a, with shorter sequences.
    """
    ids = generator.integers(2, 6, (steps, count))
    marks = generator.integers(0, 2, (2, count))
    for mark, tenth in zip(marks, (1, 5)):
        place = generator.integers(tenth * steps // 10, (tenth + 1) * steps // 10, count)
        ids[place, np.arange(count)] = mark
    return one_hot(ids, 6), 2 * marks[0] + marks[1]


def balanced(generator: np.random.Generator, low: int, high: int, count: int = 32) -> Batch:
    """Return words a^n b^n and an end mark, n from low to high, filled up with end marks; the class is the next symbol.

    In the first half, the next symbol is a or b by chance; from the first b on the count decides it.
    """
    n = generator.integers(low, high + 1, count)
    place = np.arange(2 * high + 2)[:, None]
    ids = np.where(place < n, 0, np.where(place < 2 * n, 1, 2))
    return one_hot(ids[:-1], 3), ids[1:]
