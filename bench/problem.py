"""A task of recurrent layers: inputs, weights and cotangents as NumPy arrays, with counts of flops and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Problem:
    """Layers of one kind at one shape: x [T, N, I] -> output [T, N, H * directions].

    lengths: the sequences have unequal lengths, unsorted. state: the task has initial states and returns final ones.
    Every call of a method draws the same numbers, so each contender can call it.
    """

    kind: str
    T: int
    N: int
    I: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    lengths: bool = False
    state: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def suffixes(self) -> list[str]:
        """The suffixes of the weights of each layer and direction."""
        return [f"_l{k}{name}" for k in range(self.layers) for name in ("", "_reverse")[: self.directions]]

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x and the cotangent of the output."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.T, self.N, self.I), np.float32)
        return x, rng.standard_normal((self.T, self.N, self.H * self.directions), np.float32)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by PyTorch's names."""
        rows, found = GATES[self.kind] * self.H, dict[str, tuple[int, ...]]()
        for suffix in self.suffixes:
            features = self.I if suffix.startswith("_l0") else self.H * self.directions
            shapes = {
                "weight_ih": (rows, features),
                "weight_hh": (rows, self.H),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            found |= {name + suffix: shape for name, shape in shapes.items()}
        return found

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights by PyTorch's names, drawn from U(-1/sqrt(H), 1/sqrt(H))."""
        rng = np.random.default_rng(1)
        drawn = lambda shape: ((2 * rng.random(shape, np.float32) - 1) / self.H**0.5).astype(np.float32)
        return {name: drawn(shape) for name, shape in self.shapes().items()}

    def states(self) -> list[np.ndarray]:
        """Return the initial states, each [layers * directions, N, H]: h, and for an LSTM c."""
        shape = (2 if self.kind == "LSTM" else 1, len(self.suffixes), self.N, self.H)
        return list(np.random.default_rng(2).standard_normal(shape, np.float32) * np.float32(0.1))

    def steps(self) -> np.ndarray:
        """Return the length of each sequence: from about T / 4 to T, one of them T."""
        if not self.lengths:
            return np.full(self.N, self.T)
        found = np.random.default_rng(3).integers(max(1, self.T // 4), self.T + 1, self.N)
        found[self.N // 2] = self.T
        return found

    def flops(self, task: str) -> float:
        """Return the flops of the matrix products over all real steps; the backward has twice the forward's."""
        columns = sum(shape[1] for name, shape in self.shapes().items() if name.startswith("weight"))
        return (6.0 if task == "train" else 2.0) * float(self.steps().sum()) * columns * GATES[self.kind] * self.H

    def bytes(self, task: str) -> float:
        """Return the bytes of weights, input and output in float32, in training with those of their gradients."""
        weights = sum(map(math.prod, self.shapes().values()))
        moved = weights + self.steps().sum() * (self.I + self.H * self.directions)
        return (8.0 if task == "train" else 4.0) * float(moved)
