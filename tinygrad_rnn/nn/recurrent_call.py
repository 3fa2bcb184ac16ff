"""One call of a recurrent layer: it checks the arguments, brings them to [T, N, ...], and shapes the results.

The layer computes only in [T, N, ...]; this module alone converts `batch_first` and unbatched sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..arrays.box import boxed
from ..arrays.device import same_device, to_numpy
from ..autograd.primitives.shape import broadcast_to, reshape, transpose, unbind
from ..cells.trace import Step
from ..tensor import Tensor
from ..tensor.creation import own_tensor


def states_of(state: Any, count: int) -> tuple[Any, ...]:
    """Split the argument `state` of a cell with `count` states into a tuple with one entry for each given state.

    A lone state may be a tensor, an array or nested lists of numbers.
    """
    if not isinstance(state, (tuple, list)):
        return (state,)
    numbers = count == 1 and not (len(state) == 1 and hasattr(state[0], "shape"))
    if numbers and not any(hasattr(part, "shape") for part in state):
        return (state,)
    return tuple(state)


def numpy_states(state: Any, lead: tuple[int, ...], sizes: Sequence[int], dtype: np.dtype) -> list[np.ndarray] | None:
    """Return the arrays of the given states, if all are NumPy arrays of shape [*lead, size] and of the dtype.

    Return None in any other case, including wrong arguments; the caller's slower path then raises the error.
    """
    states = state if isinstance(state, (tuple, list)) else (state,)
    if len(states) != len(sizes):
        return None
    found = []
    for start, size in zip(states, sizes):
        a = start.array if type(start) is Tensor else start
        if type(a) is not np.ndarray or a.shape != (*lead, size) or a.dtype != dtype:
            return None
        found.append(a)
    return found


class RecurrentLayer(Protocol):
    """The part of `Recurrent` that `LayerCall` reads."""

    input_size: int
    hidden_size: int
    batch_first: bool
    learn_initial_state: bool
    suffixes: list[str]

    @property
    def step(self) -> Step: ...

    def state_size(self, i: int) -> int: ...

    def _read(self, name: str, optional: bool = False) -> Any: ...


class LayerCall:
    """One call of a layer: the checked `x` [T, N, I] and `lengths`, and methods for the other arguments and results."""

    def __init__(self, layer: RecurrentLayer, x: Any, lengths: Any):
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
        """Return x as [T, N, ...]; the caller gives [N, T, ...] with batch_first, or one sequence [T, ...]."""
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
        """Return, for each layer and direction, the tuple of its initial states, each [N, size]."""
        layer = self.layer
        names = layer.step.states
        if state is None:
            return [tuple(self._default_state(i, suffix) for i in range(len(names))) for suffix in layer.suffixes]
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

    def _default_state(self, i: int, suffix: str) -> Any:
        """Return the i-th initial state where the caller gives none: the learned one, or zeros."""
        shape = (self.batch, self.layer.state_size(i))
        if self.layer.learn_initial_state:
            return broadcast_to(self.layer._read(f"{self.layer.step.states[i]}_0{suffix}"), shape)
        return boxed(np.zeros(shape, self.dtype, like=self.weight.array))

    @property
    def per_step(self) -> tuple[int, ...]:
        """The shape of a cell's own input that is given per step: [T, N, H], or [N, T, H], or [T, H]."""
        hidden = self.layer.hidden_size
        if not self.batched:
            return self.time, hidden
        lead = (self.batch, self.time) if self.layer.batch_first else (self.time, self.batch)
        return *lead, hidden

    def side_input(self, key: str, value: Any) -> Any:
        """Return a cell's own input, which may be given per step, per sequence or per unit, as [T, N, H]."""
        value = own_tensor(value, f"{self.name}: inputs[{key!r}]")
        self._check_device(f"inputs[{key!r}]", value)
        hidden = self.layer.hidden_size
        batch = (self.batch,) if self.batched else ()
        per_step = self.per_step
        shapes = (per_step, (*batch, hidden), (hidden,))[: 2 + self.batched]
        fitting = [s for s in shapes if len(s) == value.ndim and all(n in (1, m) for n, m in zip(value.shape, s))]
        if not fitting or value.dtype != self.dtype:
            raise ValueError(
                f"{self.name}: inputs[{key!r}]: expected {self.dtype} of shape {' or '.join(map(str, shapes))}, "
                f"got {value.dtype} of shape {value.shape}"
            )
        if fitting[0] is per_step:
            value = self.time_first(value)
        return broadcast_to(value, (self.time, self.batch, hidden))

    def results(self, output: Any, last: tuple, sequences: tuple | None) -> tuple[Any, ...]:
        """Return (output, state), and the sequences of all states where given, in the layout that the caller uses."""
        if not self.batched:
            output = reshape(output, (self.time, output.shape[2]))
            last = tuple(reshape(s, (s.shape[0], s.shape[2])) for s in last)
            sequences = sequences and tuple(reshape(s, (s.shape[0], self.time, s.shape[3])) for s in sequences)
        elif self.layer.batch_first:
            output = transpose(output, 0, 1)
            sequences = sequences and tuple(transpose(s, 1, 2) for s in sequences)
        state = last[0] if len(last) == 1 else last
        return (output, state) if sequences is None else (output, state, sequences)
