"""Training of a character model by truncated back-propagation through time, with an explicit state."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from .. import nn
from ..arrays import random
from ..autograd.grad_modes import no_grad
from ..data import Chunks, Vocabulary, split
from ..tensor import Tensor
from .check import OPTIMISERS, check, config_of, vocabulary_of
from .config import SHORTEST_PERIOD, Config, DivergedError
from .model import CharModel


class Trainer:
    """A model in training on a row of ids [K]: all state that the next step depends on.

    model, optimiser: both on the device, each with its own state.
    period:      the number of steps after which the learning rate has fallen by the factor `decay`; at least an epoch.
    state:       the recurrent state, carried from chunk to chunk; zeros at the start of an epoch.
    step:        the number of steps done; epoch, chunk and learning rate follow from it.
    losses:      bits per character of every training step, before its update.
    validations: (step, bits per character of the held-out tail) of every validation.

    The package's random stream gives initial weights and dropout. It is part of the state, and a new trainer seeds it,
    so use one trainer at a time.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary, ids: np.ndarray, device: str = "cpu"):
        self.config = config
        self.vocabulary = vocabulary
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(vocabulary):
            raise ValueError(f"Trainer: ids: expected 0 to {len(vocabulary) - 1}, got {ids.min()} to {ids.max()}")
        training, tail = split(ids.astype(vocabulary.dtype, copy=False), config.held_out)
        self.chunks = Chunks(training, config.batch, config.bptt)
        self.tail = Chunks(tail, config.batch, config.bptt)
        self.period = max(SHORTEST_PERIOD, len(self.chunks))
        self.validate_every = config.validate_every or self.period
        random.manual_seed(config.seed)
        self.device = device
        self.model = CharModel(len(vocabulary), config).to(device)
        self.optimiser = OPTIMISERS[config.optimiser](self.model.parameters(), lr=config.lr)
        self.state: Any = None
        self.step = 0
        self.losses = array("d")
        self.validations: list[tuple[int, float]] = []

    @property
    def epoch(self) -> float:
        """The number of passes over the text."""
        return self.step / len(self.chunks)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step: lr decay^(step / period)."""
        return self.config.lr * self.config.decay ** (self.step / self.period)

    def train_step(self) -> int:
        """Train on one chunk: forward, backward, a step of the optimiser. Return the number of predicted characters.

        Raises DivergedError, before any weight changes, if the loss or the gradient is not finite.
        """
        k = self.step % len(self.chunks)
        inputs, targets = self.chunks[k]
        self.model.train()
        self.model.zero_grad()
        logits, state = self.model(Tensor(inputs), self.state if k else None)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), Tensor(targets.reshape(-1)))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not math.isfinite(loss.item() + float(norm)):
            found = f"a loss of {loss.item():.3g} and a gradient of norm {float(norm):.3g}"
            raise DivergedError(f"step {self.step + 1}: expected finite numbers, got {found}: a lower lr may help")
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate
        self.optimiser.step()
        self.state = state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)
        self.step += 1
        self.losses.append(loss.item() / math.log(2))
        return targets.size

    @property
    def needs_validation(self) -> bool:
        """Whether a validation is due at this step and not done yet."""
        return self.step > 0 and self.step % self.validate_every == 0 and not self.is_validated

    @property
    def is_validated(self) -> bool:
        """Whether the present weights have been validated."""
        return bool(self.validations) and self.validations[-1][0] == self.step

    def validate(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Add the held-out tail's bits per character to `validations`; add nothing if `stop()` returns True meanwhile.

        Dropout is off, the recurrent state starts from zeros and is carried along the tail, and the random stream
        does not change. Raises DivergedError for a loss that is not finite.
        """
        self.model.eval()
        state, nats = None, 0.0
        with no_grad():
            for inputs, targets in self.tail:
                if stop():
                    return
                logits, state = self.model(Tensor(inputs), state)
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), Tensor(targets.reshape(-1)))
                nats += loss.item() * targets.size
        if not math.isfinite(nats):
            found = f"a loss of {nats:.3g} on the held-out text"
            raise DivergedError(f"step {self.step}: expected finite numbers, got {found}: a lower lr may help")
        self.validations.append((self.step, nats / self.tail.targets.size / math.log(2)))

    def tree(self) -> dict[str, Any]:
        """Return the whole state, for `checkpoint.save`."""
        own = self.optimiser.state_dict()
        return {
            "config": asdict(self.config),
            "vocabulary": self.vocabulary.characters,
            "model": self.model.state_dict(),
            "optimiser": {str(key): value for key, value in own["state"].items()},
            "recurrent_state": self.state,
            "random_state": random.get_rng_state(),
            "step": self.step,
            "losses": np.array(self.losses),
            "validations": np.array(self.validations).reshape(-1, 2),
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Load the state that `tree` returned; the next steps are bit-equal. Raises ValueError if it does not fit."""
        check(tree)
        if config_of(tree) != self.config or vocabulary_of(tree) != self.vocabulary:
            raise ValueError("config, vocabulary: expected those of this trainer, got others")
        given = tree["recurrent_state"]
        states = [] if given is None else given if isinstance(given, list) else [given]
        for state in states:
            if state.shape[1] != self.chunks.batch:
                raise ValueError(f"recurrent_state: expected {self.chunks.batch} streams, got {state.shape[1]}")
        self.model.load_state_dict(tree["model"])
        own = self.optimiser.state_dict()
        own["state"] = {int(key): value for key, value in tree["optimiser"].items()}
        self.optimiser.load_state_dict(own)
        moved = tuple(Tensor(state).to(self.device) for state in states)
        self.state = None if given is None else moved if isinstance(given, list) else moved[0]
        random.set_rng_state(tree["random_state"])
        self.step = tree["step"]
        self.losses = array("d", tree["losses"].tobytes())
        self.validations = [(int(step), bits) for step, bits in tree["validations"].tolist()]


def model_of(tree: dict[str, Any], device: str = "cpu") -> tuple[CharModel, Vocabulary]:
    """Return the trained model of a checkpoint's tree, in evaluation mode on a device, and its vocabulary.

    Raises the errors of `check`, before anything is built, for a tree that does not fit its configuration.
    """
    check(tree)
    vocabulary = vocabulary_of(tree)
    model = CharModel(len(vocabulary), config_of(tree))
    model.load_state_dict(tree["model"])
    return model.to(device).eval(), vocabulary
