"""What a recurrent layer is called with: checked, brought to [T, N, ...], and its results brought back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.box import boxed
from ..arrays.device import same_device, to_numpy
from ..autograd.primitives.shape import (
    broadcast_to,
    reshape,
    transpose,
    unbind,
)
from ..tensor import Tensor
from ..tensor.creation import own_tensor


def states_of(state: Any, count: int) -> tuple[Any, ...]:
    """The initial states as they were given: a tuple or list of them, or one, which may be nested lists of numbers."""
    if not isinstance(state, (tuple, list)):
        return (state,)
    numbers = count == 1 and not (len(state) == 1 and hasattr(state[0], "shape"))
    if numbers and not any(hasattr(part, "shape") for part in state):
        return (state,)
    return tuple(state)


class Call:
    """One call of a layer: its arguments checked and brought to [T, N, ...], and its results brought back."""

    def __init__(self, layer: Any, x: Any, lengths: Any):
        self.layer, self.name = layer, type(layer).__name__
        self.weight = layer._read("weight_ih_l0")
        self.dtype = self.weight.dtype
        x = x if type(x) is Tensor else own_tensor(x, f"{self.name}: x")
        if x.ndim not in (2, 3):
            raise ValueError(f"{self.name}: x: expected shape [T, N, I], or [T, I] for one sequence, got {x.shape}")
        if x.shape[-1] != layer.input_size:
            raise ValueError(f"{self.name}: x has {x.shape[-1]} features, input_size is {layer.input_size}")
        if x.dtype != self.dtype:
            raise TypeError(f"{self.name}: x: expected {self.dtype} as the weights are, got {x.dtype}")
        if type(x.array) is not type(self.weight.array):
            self._check_device("x", x)
        self.batched = x.ndim == 3
        self.x = self.time_first(x)
        self.time, self.batch = self.x.shape[:2]
        self.lengths = self._checked_lengths(lengths)

    def _check_device(self, name: str, x: Tensor) -> None:
        same_device(f"{self.name}: {name}", x, self.weight, "the weights are")

    def time_first(self, x: Any) -> Any:
        """[T, N, ...] of what came as [N, T, ...] or as one sequence."""
        if not self.batched:
            return reshape(x, (x.shape[0], 1, x.shape[1]))
        return transpose(x, 0, 1) if self.layer.batch_first else x

    def _checked_lengths(self, lengths: Any) -> np.ndarray | None:
        if lengths is None:
            return None
        found = np.atleast_1d(to_numpy(lengths, f"{self.name}: lengths", any_dtype=True))
        if found.size == 0:
            found = found.astype(np.int64)
        if found.shape != (self.batch,) or found.dtype.kind not in "iu":
            raise ValueError(
                f"{self.name}: lengths: expected {self.batch} whole numbers, got {found.dtype} of shape {found.shape}"
            )
        if found.size and not 0 <= found.min() <= found.max() <= self.time:
            raise ValueError(
                f"{self.name}: lengths: expected numbers from 0 to {self.time}, got {found.min()} to {found.max()}"
            )
        return None if (found == self.time).all() else found.astype(np.int64)

    def initial(self, state: Any) -> list[tuple[Any, ...]]:
        """For each layer and direction its initial states, [N, size] each."""
        layer = self.layer
        names = layer.step.states
        if state is None:
            return [tuple(self._default(i, suffix) for i in range(len(names))) for suffix in layer.suffixes]
        given = states_of(state, len(names))
        if len(given) != len(names):
            raise ValueError(f"{self.name}: state: expected {', '.join(names)}, got {len(given)} tensors")
        rows = []
        for i, (name, value) in enumerate(zip(names, given)):
            value = own_tensor(value, f"{self.name}: {name}_0")
            self._check_device(f"{name}_0", value)
            shape = (len(layer.suffixes), *((self.batch,) if self.batched else ()), layer.state_size(i))
            if value.shape != shape or value.dtype != self.dtype:
                raise ValueError(
                    f"{self.name}: {name}_0: expected {self.dtype} of shape {shape}, "
                    f"got {value.dtype} of shape {value.shape}"
                )
            rows.append(unbind(reshape(value, (shape[0], self.batch, shape[-1]))))
        return list(zip(*rows))

    def _default(self, i: int, suffix: str) -> Any:
        shape = (self.batch, self.layer.state_size(i))
        if self.layer.learn_initial_state:
            return broadcast_to(self.layer._read(f"{self.layer.step.states[i]}_0{suffix}"), shape)
        return boxed(np.zeros(shape, self.dtype, like=self.weight.array))

    def side_input(self, key: str, value: Any) -> Any:
        """A cell's own input as [T, N, H]."""
        value = own_tensor(value, f"{self.name}: inputs[{key!r}]")
        self._check_device(f"inputs[{key!r}]", value)
        hidden = self.layer.hidden_size
        batch = (self.batch,) if self.batched else ()
        each_step = (*batch, self.time, hidden) if self.layer.batch_first else (self.time, *batch, hidden)
        shapes = (each_step, (*batch, hidden), (hidden,))[: 2 + self.batched]
        fitting = [s for s in shapes if len(s) == value.ndim and all(n in (1, m) for n, m in zip(value.shape, s))]
        if not fitting or value.dtype != self.dtype:
            raise ValueError(
                f"{self.name}: inputs[{key!r}]: expected {self.dtype} of shape {' or '.join(map(str, shapes))}, "
                f"got {value.dtype} of shape {value.shape}"
            )
        if fitting[0] is each_step:
            value = self.time_first(value)
        return broadcast_to(value, (self.time, self.batch, hidden))

    def results(self, output: Any, last: tuple, every: tuple | None) -> tuple[Any, ...]:
        """(output, state) and, where asked for, the sequences of all states, in the shapes that the caller uses."""
        if not self.batched:
            output = reshape(output, (self.time, output.shape[2]))
            last = tuple(reshape(s, (s.shape[0], s.shape[2])) for s in last)
            every = every and tuple(reshape(s, (s.shape[0], self.time, s.shape[3])) for s in every)
        elif self.layer.batch_first:
            output = transpose(output, 0, 1)
            every = every and tuple(transpose(s, 1, 2) for s in every)
        state = last[0] if len(last) == 1 else last
        return (output, state) if every is None else (output, state, every)
